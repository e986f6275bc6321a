"""The supervisor: commands, another model, a model in the shadow, and what an owner may switch on beside the main way."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from asking import Asker
from brokers import Mosquitto, free_port, wait_for
from fakes import HangingFaces, SeenFaces
from model_packages import copy_model
from services import FACE, running, settings

from edge.cli.exits import HUNG, UNUSABLE, exit_status
from edge.config import CameraSettings, ModelSettings, MqttSettings, PreviewSettings, ServiceSettings, Settings, SnapshotSettings
from edge.delivery.salvage import open_outbox
from edge.errors import DeliveryError, DetectorError, ModelError, StageError
from edge.service import Openers, Service


def see() -> SeenFaces:
    return SeenFaces([FACE])


def types(asker: Asker) -> list[str]:
    return [json.loads(message.payload)["type"] for message in asker.on("/events")]


def state(asker: Asker) -> dict[str, Any]:
    return dict(asker.json("/state")[-1])


def reply(asker: Asker, verb: str, count: int = 1) -> dict[str, Any]:
    return dict(asker.json(f"/reply/{verb}", count)[count - 1])


def test_a_pause_gives_the_camera_back_and_outlives_a_restart(tmp_path: Path, mosquitto: Mosquitto, asker: Asker) -> None:
    with running(settings(mosquitto), tmp_path, see) as service:
        asker.wait_for_online()
        wait_for(lambda: "new" in types(asker), 15, "a face")
        asker.ask("pause")
        assert reply(asker, "pause")["result"]["paused"] is True
        assert service.cameras[0].closed.is_set()
        wait_for(lambda: types(asker)[-1] == "end", 5, "its track ends")
        wait_for(lambda: state(asker)["paused"] and state(asker)["faces"] == 0, 5, "the state says so")
    with running(settings(mosquitto), tmp_path, see) as service:
        asker.ask("status")
        assert reply(asker, "status")["result"]["state"]["paused"] is True
        assert not service.cameras, "nobody has looked"
        seen = len(types(asker))
        asker.ask("resume")
        wait_for(lambda: types(asker)[seen:][:1] == ["new"], 15, "it watches again")
        assert not state(asker)["paused"]


def test_a_pause_that_cannot_be_remembered_is_a_pause_and_says_so(tmp_path: Path, mosquitto: Mosquitto, asker: Asker) -> None:
    with running(settings(mosquitto), tmp_path, see) as service:
        asker.wait_for_online()
        # A folder where the mark should be: no file can be made of it, root or not.
        (tmp_path / "state" / "paused").mkdir()
        asker.ask("resume")
        assert reply(asker, "resume")["ok"]
        shutil.rmtree(tmp_path / "state" / "paused")
        (tmp_path / "state" / "paused").symlink_to(tmp_path / "nowhere" / "paused")
        asker.ask("pause")
        assert "a restart will not remember it" in reply(asker, "pause")["error"]
        assert service.cameras[0].closed.is_set(), "the camera is given back all the same"
        wait_for(lambda: state(asker)["paused"], 5)
        assert not service.ended


def test_a_resume_that_fails_leaves_no_camera_open(tmp_path: Path, mosquitto: Mosquitto, asker: Asker) -> None:
    hanging, refusals = HangingFaces([FACE], after=20), 2
    openings = iter([hanging, *[DetectorError("no weights any more")] * refusals, see()])

    def opened() -> SeenFaces:
        found = next(openings)
        if isinstance(found, DetectorError):
            raise found
        return found

    with running(settings(mosquitto), tmp_path, opened) as service:
        asker.wait_for_online()
        assert hanging.hangs.wait(30)
        asker.ask("pause")
        assert reply(asker, "pause")["ok"]
        for count in range(1, refusals + 1):
            asker.ask("resume")
            assert "no weights any more" in reply(asker, "resume", count)["error"]
        assert state(asker)["paused"]
        asker.ask("resume")
        assert reply(asker, "resume", refusals + 1)["ok"]
        wait_for(lambda: types(asker)[-1] in ("new", "update"), 15, "it watches again")
        assert [camera.closed.is_set() for camera in service.cameras] == [True, False]
        hanging.release.set()


def test_models_that_came_during_a_pause_are_used_though_the_old_ones_hang(
    tmp_path: Path, mosquitto: Mosquitto, asker: Asker
) -> None:
    hanging = HangingFaces([FACE], after=20)
    openings = iter([hanging, see()])
    shadowed = msgspec.structs.replace(
        settings(mosquitto), model=ModelSettings(shadow=str(copy_model(tmp_path / "other", "2.0.0")), shadow_share=1.0)
    )
    with running(shadowed, tmp_path, lambda: next(openings)) as service:
        asker.wait_for_online()
        assert hanging.hangs.wait(30)
        asker.ask("pause")
        assert reply(asker, "pause")["ok"]
        asker.ask("reload")
        assert reply(asker, "reload")["ok"]
        asker.ask("resume")
        assert reply(asker, "resume")["ok"]
        asker.ask("status")
        assert reply(asker, "status")["result"]["stats"]["shadow"]["model"].startswith("micro 2.0.0 ")
        hanging.release.set()
        assert not service.ended


class LosableClock:
    """The machine's clocks, until a thread cannot read them any more."""

    lost = ""

    def monotonic(self) -> float:
        if threading.current_thread().name == self.lost:
            raise RuntimeError("no clock")
        return time.monotonic()

    def time(self) -> float:
        return time.time()


def test_the_analysis_is_not_blamed_when_the_cameras_handler_dies(
    tmp_path: Path, mosquitto: Mosquitto, asker: Asker, caplog: pytest.LogCaptureFixture
) -> None:
    clock = LosableClock()
    with running(settings(mosquitto), tmp_path, see, clock) as service:
        wait_for(lambda: "new" in types(asker), 15, "a face")
        clock.lost = "capture"
        wait_for(lambda: service.ended, 10, "the service gives up")
    assert isinstance(service.ended[0], StageError)
    assert "the camera's handler has failed (no clock)" in str(service.ended[0])
    assert "started anew" not in caplog.text


def test_a_file_cannot_be_paused(tmp_path: Path, mosquitto: Mosquitto, asker: Asker) -> None:
    wanted = settings(mosquitto)
    wanted = msgspec.structs.replace(wanted, camera=msgspec.structs.replace(wanted.camera, source="demo", fps=15.0))
    with running(wanted, tmp_path, see):
        asker.wait_for_online()
        asker.ask("pause")
        assert "only a camera can be paused" in reply(asker, "pause")["error"]


def with_model(wanted: Settings, model: Path, **changes: Any) -> Settings:
    return msgspec.structs.replace(wanted, model=ModelSettings(path=str(model), **changes))


@pytest.mark.parametrize("way", ["command", "signal"])
def test_another_model_is_taken_up_while_it_runs_and_a_bad_one_is_not(
    tmp_path: Path, mosquitto: Mosquitto, asker: Asker, way: str
) -> None:
    model = copy_model(tmp_path / "models", "1.0.0")
    with running(with_model(settings(mosquitto), model), tmp_path, see) as service:
        asker.wait_for_online()
        wait_for(lambda: "new" in types(asker), 15, "a face")

        def reload() -> None:
            if way == "command":
                asker.ask("reload")
            else:
                service.reload.set()

        content = bytearray(model.read_bytes())
        content[5000] ^= 1
        model.write_bytes(content)
        reload()
        wait_for(lambda: state(asker)["problems"] == ["model"], 10, "the refusal in the state")
        assert "sha256" in asker.json("/alarms")[-1]["text"]
        if way == "command":
            assert "micro 1.0.0" in reply(asker, "reload")["error"]
        seen = len(types(asker))
        wait_for(lambda: len(types(asker)) > seen, 10, "the old one goes on")
        copy_model(tmp_path / "models", "2.0.0")
        reload()
        wait_for(lambda: "micro 2.0.0" in json.loads(asker.on("/events")[-1].payload)["model"], 15, "the new one speaks")
        assert types(asker)[seen:].count("end") == 1, "what the old one said is another story"
        assert "micro 2.0.0" in state(asker)["model"]
        if way == "command":
            assert "micro 2.0.0" in reply(asker, "reload", 2)["result"]["model"]
        wait_for(lambda: state(asker)["problems"] == [], 10, "no problem any more")


def test_a_shadow_model_is_compared_and_never_heard(tmp_path: Path, mosquitto: Mosquitto, asker: Asker) -> None:
    second = copy_model(tmp_path / "second", "9.9.9")
    wanted = with_model(settings(mosquitto), copy_model(tmp_path / "first", "1.0.0"), shadow=str(second), shadow_share=1.0)
    with running(wanted, tmp_path, see):
        found = wait_for(
            lambda: [s["shadow"] for s in map(json.loads, (m.payload for m in asker.on("/stats"))) if s["shadow"]["faces"]], 15
        )
    assert found[-1]["model"].startswith("micro 9.9.9")
    assert found[-1]["agreement"] == 1.0
    assert found[-1]["milliseconds"] > 0
    assert found[-1]["shadow_milliseconds"] > 0
    assert not any(b"9.9.9" in message.payload for message in asker.on("/events"))


def test_the_page_the_figures_and_the_album_are_there_when_asked_for(tmp_path: Path, mosquitto: Mosquitto, asker: Asker) -> None:
    wanted = msgspec.structs.replace(
        settings(mosquitto),
        preview=PreviewSettings(serve=True, port=free_port()),
        service=ServiceSettings(metrics_port=free_port()),
        snapshots=SnapshotSettings(keep=True),
    )
    with running(wanted, tmp_path, see):
        wait_for(lambda: "new" in types(asker), 15, "a face")
        page = urllib.request.urlopen(f"http://127.0.0.1:{wanted.preview.port}/", timeout=10).read().decode()
        assert "emotion" in page.lower()
        figures = urllib.request.urlopen(f"http://127.0.0.1:{wanted.service.metrics_port}/metrics", timeout=10).read().decode()
        assert "emotion_edge_faces 1.0" in figures
        (picture, *_) = wait_for(lambda: list((tmp_path / "state/snapshots").glob("*.jpg")), 10, "a picture")
        assert picture.stat().st_size > 1000
    assert not any(len(message.payload) > 2000 for message in asker.messages), "no picture ever leaves by MQTT"


def test_what_a_new_process_may_cure_is_no_bad_setting(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(error: Exception) -> int:
        raise error

    assert exit_status("edge-run", lambda: fail(StageError("it hangs"))) == HUNG
    assert exit_status("edge-run", lambda: fail(ModelError("no model"))) == UNUSABLE
    assert capsys.readouterr().err == "edge-run: it hangs\nedge-run: no model\n"


def test_a_service_tries_again_where_the_outbox_may_open_later_and_only_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

    def start(**mqtt: str) -> None:
        wanted = Settings(camera=CameraSettings(source="/dev/video97"), mqtt=MqttSettings(**mqtt))  # type: ignore[arg-type]
        Service(wanted, tmp_path / "state", openers=Openers(faces=lambda *_: see())).run(threading.Event())

    held = open_outbox(tmp_path / "state", replay=False, max_events=1, max_bytes=4096)
    with pytest.raises(StageError, match="in use"):
        start()
    with pytest.raises(DeliveryError, match="password cannot be read"):
        start(username="cam", password_file=str(tmp_path / "nowhere"))
    held.close()
    with closing(sqlite3.connect(tmp_path / "state" / "outbox.db")) as db:
        db.execute("PRAGMA user_version = 99")
        db.commit()
    with pytest.raises(DeliveryError, match="newer emotion-edge"):
        start()
