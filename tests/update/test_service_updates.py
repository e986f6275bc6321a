"""The whole program takes a model while it watches, and takes it back when it cannot see with it."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from asking import Asker
from brokers import HOST, Mosquitto, wait_for
from fakes import HangingFaces, SeenFaces
from model_packages import Owner, damage
from services import FACE, running, settings
from update_child import deliver

from converters.deploy.line import Place
from converters.deploy.push import RefusedError, ask, push
from edge.config import Settings, UpdateSettings
from edge.errors import RuntimeMissingError, UpdateError
from edge.update.open import open_updates
from edge.update.slots import Slots


def taking(mosquitto: Mosquitto, owner: Owner, hang: float = 10.0) -> Settings:
    return msgspec.structs.replace(settings(mosquitto, hang), update=UpdateSettings(str(owner.public), healthy=2.0))


def model_of_last_event(asker: Asker) -> str:
    events = asker.on("/events")
    return str(json.loads(events[-1].payload)["model"]) if events else ""


def test_events_come_from_a_pushed_model_and_still_do_after_a_restart_and_a_reload(
    tmp_path: Path, mosquitto: Mosquitto, asker: Asker, owner: Owner
) -> None:
    content, where = owner.pack(tmp_path / "m", "1.4.0"), Place(HOST, mosquitto.port, "emotion/test")
    with running(taking(mosquitto, owner), tmp_path, lambda: SeenFaces([FACE])):
        wait_for(lambda: model_of_last_event(asker).startswith("mobilenet 1.0.0"), 15, "an event")
        push(owner.open(content), content, where)
        wait_for(lambda: model_of_last_event(asker).startswith("micro 1.4.0"), 15, "an event of the new model")
    asker.messages.clear()
    with running(taking(mosquitto, owner), tmp_path, lambda: SeenFaces([FACE])):
        wait_for(lambda: model_of_last_event(asker).startswith("micro 1.4.0"), 15, "an event of the new model")
        asker.ask("reload")
        assert asker.json("/reply/reload")[0]["result"]["model"].startswith("micro 1.4.0")
    with running(settings(mosquitto), tmp_path, lambda: SeenFaces([FACE])):
        wait_for(lambda: model_of_last_event(asker).startswith("mobilenet 1.0.0"), 15, "without a key the settings' model")
        with pytest.raises(UpdateError, match="nothing answers"):
            ask(where, patience=1.0)


def test_a_stage_that_hangs_during_the_trial_brings_the_old_model_back(
    tmp_path: Path, mosquitto: Mosquitto, asker: Asker, owner: Owner
) -> None:
    content, where = owner.pack(tmp_path / "m", "1.4.0"), Place(HOST, mosquitto.port, "emotion/test")
    made: list[HangingFaces] = []

    def see() -> HangingFaces:
        made.append(HangingFaces([FACE], after=10**9))
        return made[-1]

    def hang(phase: str, *_: int) -> None:
        if phase == "trial":
            made[0]._after = 0

    with running(taking(mosquitto, owner, hang=1.0), tmp_path, see):
        wait_for(lambda: model_of_last_event(asker).startswith("mobilenet 1.0.0"), 15, "an event")
        with pytest.raises(RefusedError, match="taken back: a part of the program failed"):
            push(owner.open(content), content, where, report=hang)
        asker.messages.clear()
        wait_for(lambda: model_of_last_event(asker).startswith("mobilenet 1.0.0"), 15, "the old one")
        made[0].release.set()


def test_a_key_that_cannot_be_used_is_one_sentence_and_no_key_is_no_update(tmp_path: Path, owner: Owner) -> None:
    assert open_updates(UpdateSettings(), tmp_path / "models") is None
    (tmp_path / "text").write_text("no key")
    missing, text, private = tmp_path / "none", tmp_path / "text", owner.private
    for path, why in ((missing, "cannot be read"), (text, "not a public key"), (private, "not a public key")):
        with pytest.raises((UpdateError, RuntimeMissingError), match=why):
            open_updates(UpdateSettings(str(path)), tmp_path / "models")
    assert open_updates(UpdateSettings(str(owner.public)), tmp_path / "models") is not None
    assert not (tmp_path / "models").exists(), "nothing is written before it starts"


def test_a_damaged_slot_or_pointer_or_another_key_falls_back_to_what_is_good(tmp_path: Path, owner: Owner) -> None:
    folder = tmp_path / "models"
    wanted = UpdateSettings(str(owner.public), healthy=0.0)
    for counter in (1, 2):
        content = owner.pack(tmp_path / f"m{counter}", f"1.{counter}", counter)
        deliver(wanted, folder, content, owner.open(content))

    def version(settings: UpdateSettings = wanted) -> str:
        updates = open_updates(settings, folder)
        assert updates is not None
        return updates.open(Settings()).models.classifier.manifest.version

    assert version() == "1.2"
    assert version(UpdateSettings(str(Owner(tmp_path, "another").public))) == "1.0.0", "another key, another trust"
    damage(folder / "b")
    assert version() == "1.1", "the one from before"
    (folder / "pointer").write_bytes(b"\0" * 100)
    assert version() == "1.0.0", "that of the settings"
    assert Slots(folder, owner.key.public_key()).pointer.counter == 2, "the damage brings no old model back"
