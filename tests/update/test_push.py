"""A model goes over a real broker into a slot: it is proven, tried, kept or taken back, and what breaks off goes on."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from asking import Asker
from brokers import HOST, Mosquitto, Subscriber, wait_for
from emitting import drafts
from model_packages import SMALL_MODEL, Owner, entry
from updating import Device, During, place, soon

from converters.cli.model import main
from converters.deploy.push import RefusedError, ask, push
from edge.errors import UpdateError
from edge.update.package import CHUNK, MAX_BYTES, WINDOW, Entry, Head, Package, package_id, read_seal

# The model and its manifest of 2 kB.
CHUNKS = (SMALL_MODEL.stat().st_size + 3000) // CHUNK + 1
# Makes a package of some 65 chunks.
PADDING = {"recipe": {"padding": "x" * 2_000_000}}
MIDDLE = 25


@pytest.fixture
def device(tmp_path: Path, mosquitto: Mosquitto, owner: Owner) -> Iterator[Device]:
    with Device(mosquitto.port, tmp_path / "state", owner.public) as device:
        yield device


def again(listener: Subscriber) -> int:
    """Chunks that the device has got twice, by its own count."""
    return max((reply["result"]["again"] for reply in listener.decoded("/reply/update")), default=0)


def test_a_model_is_pushed_tried_kept_and_runs_after_a_restart(
    tmp_path: Path, mosquitto: Mosquitto, owner: Owner, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "one.edgemodel"
    package.write_bytes(owner.pack(tmp_path / "one", "1.1.0", 7))
    where = ["--broker", f"{HOST}:{mosquitto.port}", "--device", "cam"]
    with Device(mosquitto.port, tmp_path / "state", owner.public) as device:
        assert device.running == "1.0.0"
        assert main(["push", str(package), *where]) == 0
        assert re.search(rf"cam: runs micro 1\.1\.0 [0-9a-f]{{8}} and keeps it \({CHUNKS} chunks sent\)", capsys.readouterr().out)
        assert device.running == "1.1.0"
        assert not (device.models / "incoming").exists()
        assert main(["push", str(package), *where]) == 0, "it is there already"
        assert "(0 chunks sent)" in capsys.readouterr().out
    with Device(mosquitto.port, tmp_path / "state", owner.public) as device:
        assert device.running == "1.1.0"
        content = owner.pack(tmp_path / "two", "1.2.0", 8)
        assert push(owner.open(content), content, place(mosquitto.port)).chunks == CHUNKS
        pointer = device.pointer
        assert pointer.committed is not None
        assert pointer.previous is not None
        assert (pointer.committed.version, pointer.previous.version, pointer.trial) == ("1.2.0", "1.1.0", None)
        assert {pointer.committed.slot, pointer.previous.slot} == {"a", "b"}
        assert main(["status", *where, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["committed"]["version"] == "1.2.0"
        assert main(["status", *where]) == 0
        assert "last one   kept: micro 1.2.0 is kept" in capsys.readouterr().out


def test_a_device_that_is_silent_does_not_keep_the_next_one_from_its_model(
    tmp_path: Path, mosquitto: Mosquitto, owner: Owner, device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    package, foreign = tmp_path / "one.edgemodel", tmp_path / "foreign.edgemodel"
    package.write_bytes(owner.pack(tmp_path / "one"))
    foreign.write_bytes(Owner(tmp_path, "stranger").pack(tmp_path / "two"))
    where = ["--broker", f"{HOST}:{mosquitto.port}", "--device"]
    assert main(["push", str(foreign), *where, "cam"]) == 1
    assert "edge-model: cam: the package is not signed" in capsys.readouterr().err
    assert main(["push", str(package), *where, "ghost", "--device", "cam", "--patience", "5"]) == 2
    shown = capsys.readouterr()
    assert "edge-model: ghost: nothing answers" in shown.err
    assert shown.out.startswith("cam: runs micro 1.1.0 ")
    assert device.running == "1.1.0"
    assert main(["status", "--broker", f"{HOST}:1", "--device", "ghost", "--device", "cam"]) == 2
    assert [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()] == ["ghost", "cam"]


def flipped(content: bytes, position: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 1
    return bytes(changed)


def test_what_must_not_be_installed_is_not_and_the_next_good_one_is(
    tmp_path: Path, mosquitto: Mosquitto, owner: Owner, device: Device
) -> None:
    first = owner.pack(tmp_path / "first", "1.1.0", 50)
    push(owner.open(first), first, place(mosquitto.port))
    stranger = Owner(tmp_path, "stranger")
    foreign = stranger.pack(tmp_path / "foreign", "9.9.9", 99)
    good = owner.pack(tmp_path / "good", "1.2.0", 60)
    bad_scores = {"golden": [{"rule": f"v1:{number}", "scores": [1, 0, 0, 0, 0, 0, 0]} for number in range(3)]}
    huge = (Entry("m.tflite", MAX_BYTES, "0" * 64), entry("m.tflite.json", b"{}"))
    cases = [
        (foreign, "not signed by the key"),
        (good.replace(b'"counter":60', b'"counter":61', 1), "not signed by the key"),
        (flipped(good, len(read_seal(good)) - 1), "not signed by the key"),
        (flipped(good, -1), "does not have the sha256 that was signed"),
        (flipped(good, len(read_seal(good)) + CHUNK), "does not have the sha256"),
        (owner.pack(tmp_path / "older", "1.0.9", 70), "a downgrade is refused"),
        (owner.pack(tmp_path / "again", "1.3.0", 50), "its counter 50 is not above 50"),
        (owner.sign(Head(1, "m", "2.0", 80, huge), b""), "at most"),
        (owner.sign(Head(1, "m", "2.0", 80, (entry("m.tflite", b"x"),)), b"x"), "and its manifest"),
        (owner.sign_model(tmp_path / "golden", 81, **bad_scores), "computes other scores"),
        (owner.sign_model(tmp_path / "other", 82, version="1.6.0"), "its manifest is that of micro 1.6.0"),
        (owner.sign_model(tmp_path / "sum", 83, sha256="0" * 64), "sha256"),
    ]
    for content, why in cases:
        with pytest.raises(RefusedError, match=why):
            push(unchecked(content), content, place(mosquitto.port))
        assert device.running == "1.1.0", why
        pointer = device.pointer
        assert pointer.committed is not None
        assert (pointer.committed.version, pointer.counter, pointer.trial) == ("1.1.0", 50, None)
    assert push(owner.open(good), good, place(mosquitto.port)).chunks == CHUNKS
    assert device.running == "1.2.0"


def unchecked(content: bytes) -> Package:
    """A package as somebody sends it who leaves out every check."""
    seal = read_seal(content)
    return Package(msgspec.json.decode(seal[12:-64], type=Head), seal, package_id(seal[:-64]))


def test_a_seal_that_is_cut_off_writes_nothing(mosquitto: Mosquitto, owner: Owner, device: Device, tmp_path: Path) -> None:
    seal = read_seal(owner.pack(tmp_path / "m"))
    with Asker(mosquitto.port, "emotion/cam/reply/#") as asker:
        for number, payload in enumerate((seal[:-1], seal[:20], b"", seal + b"x", b"\0" * 30_000), 1):
            asker.publish("emotion/cam/update/offer", payload)
            assert asker.json("/reply/update", number)[-1]["ok"] is False
    assert not (device.models / "incoming").exists()


def test_a_broker_that_is_away_in_the_middle_costs_no_chunk_twice(
    tmp_path: Path, mosquitto: Mosquitto, owner: Owner, device: Device
) -> None:
    content = owner.pack(tmp_path / "m", **PADDING)

    def away() -> None:
        mosquitto.kill()
        soon()
        mosquitto.start()

    during = During(MIDDLE, away)
    with Subscriber(mosquitto.port, "emotion/cam/reply/#") as listener:
        package = owner.open(content)
        sent = push(package, content, place(mosquitto.port), report=during)
        assert again(listener) == 0, "what was there was not sent again"
    assert during.done
    assert sent.connections >= 2
    assert package.head.chunks <= sent.chunks <= package.head.chunks + WINDOW
    assert device.running == "1.1.0"


@pytest.mark.parametrize("who", ["device", "pusher"])
def test_a_restart_of_either_side_in_the_middle_goes_on_where_it_was(
    tmp_path: Path, mosquitto: Mosquitto, owner: Owner, who: str
) -> None:
    content = owner.pack(tmp_path / "m", **PADDING)
    package = owner.open(content)
    devices = [Device(mosquitto.port, tmp_path / "state", owner.public)]

    def restart() -> None:
        if who == "pusher":
            raise KeyboardInterrupt
        devices[0].stop()
        devices.append(Device(mosquitto.port, tmp_path / "state", owner.public))

    during = During(MIDDLE, restart)
    try:
        with Subscriber(mosquitto.port, "emotion/cam/reply/#") as listener:
            if who == "pusher":
                with pytest.raises(KeyboardInterrupt):
                    push(package, content, place(mosquitto.port), report=during)
                sent = push(package, content, place(mosquitto.port))
                assert sent.resumed >= MIDDLE
                assert sent.chunks == package.head.chunks - sent.resumed
            else:
                sent = push(package, content, place(mosquitto.port), report=during)
                assert package.head.chunks <= sent.chunks <= package.head.chunks + WINDOW
            assert again(listener) == 0
        assert devices[-1].running == "1.1.0"
    finally:
        devices[-1].stop()


def test_the_end_of_a_file_that_a_power_cut_has_damaged_costs_one_more_transfer(
    tmp_path: Path, mosquitto: Mosquitto, owner: Owner, device: Device
) -> None:
    content = owner.pack(tmp_path / "m")
    package = owner.open(content)
    device.models.mkdir()
    # As some file systems leave it: the length is there, the content is not.
    (device.models / "incoming").write_bytes(package.seal + bytes(3 * CHUNK))
    sent = push(package, content, place(mosquitto.port))
    assert sent.chunks == 1 + package.head.chunks
    assert device.running == "1.1.0"


def test_one_update_at_a_time(tmp_path: Path, mosquitto: Mosquitto, owner: Owner, device: Device) -> None:
    one = owner.pack(tmp_path / "one", "1.1.0", 10, **PADDING)
    two = owner.pack(tmp_path / "two", "1.2.0", 11)

    def meanwhile() -> None:
        with pytest.raises(RefusedError, match="another update is running"):
            push(owner.open(two), two, place(mosquitto.port))

    during = During(MIDDLE, meanwhile)
    push(owner.open(one), one, place(mosquitto.port), report=during)
    assert during.done
    assert device.running == "1.1.0"


def test_a_model_that_makes_a_stage_fail_is_taken_back_and_can_be_tried_again(
    tmp_path: Path, mosquitto: Mosquitto, owner: Owner, device: Device
) -> None:
    content = owner.pack(tmp_path / "m")

    def fail(phase: str, *_: int) -> None:
        if phase == "trial":
            wait_for(lambda: device.running == "1.1.0")
            device.restarts = 1

    with pytest.raises(RefusedError, match="taken back: a part of the program failed"):
        push(owner.open(content), content, place(mosquitto.port), report=fail)
    # The answer goes out before the device has turned back.
    wait_for(lambda: device.running == "1.0.0")
    assert (device.pointer.committed, device.pointer.trial, device.pointer.counter) == (None, None, 0)
    push(owner.open(content), content, place(mosquitto.port))
    assert device.running == "1.1.0"


def test_a_process_that_ends_during_the_trial_begins_with_the_old_model(
    tmp_path: Path, mosquitto: Mosquitto, owner: Owner
) -> None:
    content = owner.pack(tmp_path / "m")
    devices = [Device(mosquitto.port, tmp_path / "state", owner.public, healthy=3600)]

    def end(phase: str, *_: int) -> None:
        if phase == "trial" and len(devices) == 1:
            assert devices[0].pointer.trial is not None
            devices[0].stop()
            devices.append(Device(mosquitto.port, tmp_path / "state", owner.public))

    try:
        with pytest.raises(RefusedError, match="stopped while it was on trial"):
            push(owner.open(content), content, place(mosquitto.port), report=end)
        assert devices[1].running == "1.0.0"
        assert devices[1].pointer.trial is None
        sent = push(owner.open(content), content, place(mosquitto.port))
        assert sent.chunks == 0, "all of it is still there"
        assert devices[1].running == "1.1.0"
    finally:
        devices[-1].stop()


def test_noise_is_survived_and_a_retained_offer_ignored(
    tmp_path: Path, mosquitto: Mosquitto, owner: Owner, device: Device
) -> None:
    content = owner.pack(tmp_path / "m")
    with Asker(mosquitto.port, "emotion/cam/reply/#") as asker:
        for number in range(200):
            asker.publish(f"emotion/cam/update/{('offer', 'chunk', 'status', 'x')[number % 4]}", bytes([number]) * number * 20)
        asker.publish("emotion/cam/update/offer", read_seal(content), retain=True)
        assert ask(place(mosquitto.port)).phase == "idle"
        assert len(asker.on("/reply/update")) < 100, "nobody can make it answer without end"
    push(owner.open(content), content, place(mosquitto.port))
    assert device.running == "1.1.0"


def test_nobody_there_is_one_sentence(mosquitto: Mosquitto) -> None:
    with pytest.raises(UpdateError, match=r"nothing answers below emotion/cam/update"):
        ask(place(mosquitto.port), patience=1.0)


ACL = Path(__file__).resolve().parents[2] / "systemd" / "mosquitto.acl"


@pytest.mark.parametrize("protected", [True, False], ids=["with our rules", "without"])
def test_under_our_rules_deploy_may_push_and_another_device_may_not(tmp_path: Path, owner: Owner, protected: bool) -> None:
    users = {name: name for name in ("cam", "other", "deploy")}
    (tmp_path / "password").write_text("cam")
    content = owner.pack(tmp_path / "m")
    with (
        Mosquitto(tmp_path / "mosquitto", f"acl_file {ACL}" if protected else "", users=users) as mosquitto,
        Device(mosquitto.port, tmp_path / "state", owner.public, login=tmp_path / "password") as device,
    ):
        push(owner.open(content), content, place(mosquitto.port, username="deploy", password="deploy"))
        assert device.running == "1.1.0"
        if protected:
            with pytest.raises(UpdateError, match="nothing answers"):
                ask(place(mosquitto.port, username="other", password="other"), patience=1.0)
        else:
            assert ask(place(mosquitto.port, username="other", password="other")).running.startswith("micro 1.1.0")


def test_events_go_on_while_a_model_comes(tmp_path: Path, mosquitto: Mosquitto, owner: Owner, device: Device) -> None:
    content = owner.pack(tmp_path / "m", **PADDING)
    with Subscriber(mosquitto.port, "emotion/cam/events") as listener:
        thread = threading.Thread(target=push, args=(owner.open(content), content, place(mosquitto.port)))
        thread.start()
        for _ in range(20):
            device._delivery.put(drafts(5))
            soon() if not thread.is_alive() else threading.Event().wait(0.02)
        listener.wait_for_ids(100)
        thread.join(60)
    wait_for(lambda: device.running == "1.1.0")
