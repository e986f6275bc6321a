"""edge-run as its users meet it: real media, a real broker, a child process, signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from brokers import HOST, Mosquitto, Subscriber, free_port, wait_for

from edge.camera.demo import find_portraits

EDGE_RUN = Path(sys.executable).parent / "edge-run"
SCHEMA = json.loads((Path(__file__).resolve().parents[1] / "edge/delivery/event.schema.json").read_text())
# A person's own cache must not decide which detector a test runs.
CLEAN = {name: value for name, value in os.environ.items() if name not in {"NOTIFY_SOCKET", "STATE_DIRECTORY", "WATCHDOG_USEC"}}


class Run:
    """A running edge-run, ended whatever happens."""

    def __init__(self, folder: Path, port: int, *arguments: str | Path, **environment: str) -> None:
        command = [EDGE_RUN, "--host", HOST, "--port", str(port), "--device", "test", "--state-dir", folder / "state", *arguments]
        variables = {**CLEAN, "XDG_CACHE_HOME": str(folder / "cache"), **environment}
        self.log = folder / f"run-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(list(map(str, command)), stderr=log, stdout=log, env=variables, cwd=folder)

    def wait(self, timeout: float = 60) -> int:
        return self.process.wait(timeout)

    @property
    def said(self) -> str:
        return self.log.read_text()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def run(folder: Path, port: int, *arguments: str | Path) -> tuple[int, str]:
    with Run(folder, port, *arguments) as process:
        return process.wait(), process.said


def in_order(events: list[dict[str, Any]]) -> bool:
    """Every track: new, any number of updates, end; sequence numbers rise."""
    tracks = defaultdict(list)
    for event in {event["id"]: event for event in events}.values():
        tracks[event["track"]].append(event)
    return all(
        [e["type"] for e in track] == ["new", *["update"] * (len(track) - 2), "end"]
        and [e["seq"] for e in track] == sorted(e["seq"] for e in track)
        for track in tracks.values()
    )


def yunet(testdata: Path) -> list[str | Path]:
    return ["--detector", "yunet", "--detector-weights", testdata / "models" / "yunet_n_320_320.onnx"]


@pytest.mark.parametrize("detector", ["haar", "yunet"])
def test_two_people_are_two_tracks(
    tmp_path: Path, mosquitto: Mosquitto, subscriber: Subscriber, testdata: Path, detector: str
) -> None:
    flags = yunet(testdata) if detector == "yunet" else ["--detector", "haar"]
    status, said = run(tmp_path, mosquitto.port, "--source", testdata / "media/two-people.jpg", *flags)
    assert status == 0, said
    assert f"faces by {detector}" in said
    subscriber.wait_for_payload("/availability", b"stopped")
    events = subscriber.events()
    assert {event["type"] for event in events} == {"new", "end"}
    assert len({event["track"] for event in events}) == 2
    assert in_order(events)


def test_the_video_gives_valid_events_and_the_same_again(
    tmp_path: Path, mosquitto: Mosquitto, subscriber: Subscriber, testdata: Path
) -> None:
    story = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        subscriber.messages.clear()
        source = testdata / "media/stage-performance.mp4"
        status, said = run(tmp_path / name, mosquitto.port, "--source", source, *yunet(testdata))
        assert status == 0, said
        subscriber.wait_for_payload("/availability", b"stopped")
        events = subscriber.events()
        assert len(events) >= 4
        for event in events:
            jsonschema.validate(event, SCHEMA)
        assert in_order(events)
        story.append([{key: value for key, value in event.items() if key != "id"} for event in events])
    assert story[0] == story[1]


@pytest.fixture
def away(tmp_path: Path) -> Iterator[tuple[Mosquitto, Subscriber]]:
    """A broker that is down, and knows a subscriber for whom it keeps messages."""
    with Mosquitto(tmp_path / "mosquitto") as broker:
        subscriber = Subscriber(broker.port, "emotion/test/#", persistent=True)
        subscriber.stop()
        broker.stop()
        yield broker, subscriber
        subscriber.stop()


def stored(folder: Path) -> int:
    """Number of events that the program has ever written; it must have ended, because it locks its outbox."""
    (path,) = (folder / "state").glob("*replay*.db")
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()[0])


def test_a_broker_that_starts_later_gets_every_event_in_order(tmp_path: Path, away: tuple[Mosquitto, Subscriber]) -> None:
    broker, subscriber = away
    with Run(tmp_path, broker.port, "--source", "demo", "--detector", "haar", "--drain-timeout", "60") as process:
        wait_for(lambda: process.said.count("again in") >= 3, 30, "a warning at each step of the back-off")
        assert process.process.poll() is None, "a missing broker must not end the program"
        broker.start()
        assert process.wait() == 0, process.said
    subscriber.start()
    subscriber.wait_for_ids(stored(tmp_path))
    assert in_order(subscriber.events())


def test_a_broker_that_is_killed_in_the_middle_loses_nothing(tmp_path: Path, away: tuple[Mosquitto, Subscriber]) -> None:
    broker, subscriber = away
    broker.start()
    subscriber.start()
    with Run(tmp_path, broker.port, "--source", "demo", "--detector", "haar", "--drain-timeout", "60") as process:
        subscriber.wait_for_ids(2, 30)
        broker.kill()
        time.sleep(1)
        broker.start()
        assert process.wait() == 0, process.said
    subscriber.wait_for_ids(stored(tmp_path))
    assert in_order(subscriber.events())


def test_without_a_broker_a_file_ends_with_3_and_the_next_run_delivers(
    tmp_path: Path, away: tuple[Mosquitto, Subscriber]
) -> None:
    broker, subscriber = away
    status, said = run(tmp_path, broker.port, "--source", "demo", "--detector", "haar", "--drain-timeout", "1")
    count = stored(tmp_path)
    assert status == 3
    assert f"{count} events have not reached the broker" in said
    broker.start()
    subscriber.start()
    status, said = run(tmp_path, broker.port, "--source", "demo", "--detector", "haar")
    assert status == 0, said
    assert len(subscriber.wait_for_ids(2 * count)) == 2 * count
    assert in_order(subscriber.events())


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    """A face in a picture file, out of an installed package."""
    return find_portraits()[0][0]


def test_a_file_that_is_through_and_waits_for_its_broker_is_not_paused(
    tmp_path: Path, away: tuple[Mosquitto, Subscriber], portrait: Path
) -> None:
    broker, subscriber = away
    with Run(tmp_path, broker.port, "--source", portrait, "--detector", "haar", "--drain-timeout", "60") as process:
        wait_for(lambda: process.said.count("again in") >= 3, 30, "the picture is long through")
        broker.start()
        assert process.wait() == 0, process.said
    subscriber.start()
    assert not wait_for(lambda: subscriber.decoded("/state"), 10, "the retained state")[-1]["paused"]


def test_sigterm_ends_it_within_5_s_with_stopped(
    tmp_path: Path, mosquitto: Mosquitto, subscriber: Subscriber, portrait: Path
) -> None:
    with Run(tmp_path, mosquitto.port, "--source", portrait, "--camera-still", "80000") as process:
        subscriber.wait_for_ids(1, 30)
        process.process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0, process.said
    subscriber.wait_for_payload("/availability", b"stopped")
    assert subscriber.events()[-1]["type"] == "end"


def test_killed_it_is_offline(tmp_path: Path, mosquitto: Mosquitto, subscriber: Subscriber, portrait: Path) -> None:
    with Run(tmp_path, mosquitto.port, "--source", portrait, "--camera-still", "80000") as process:
        subscriber.wait_for_payload("/availability", b"online", 30)
        process.process.kill()
    subscriber.wait_for_payload("/availability", b"offline")


def test_a_wrong_password_is_refused_and_the_program_goes_on(tmp_path: Path, portrait: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("wrong-horse")
    with Mosquitto(tmp_path / "mosquitto", users={"edge": "right"}) as broker:
        login = ["--mqtt-username", "edge", "--mqtt-password-file", secret]
        with Run(tmp_path, broker.port, "--source", portrait, "--camera-still", "80000", *login) as process:
            wait_for(lambda: "refused" in process.said, 30, "the word refused")
            time.sleep(1)
            assert process.process.poll() is None
            assert ": connected" not in process.said
            assert "wrong-horse" not in process.said
            secret.write_text("right")
            wait_for(lambda: ": connected" in process.said, 30, "a connection with the right password")


MISTAKES = {
    "no such file": ["--source", "nowhere.mp4"],
    "not a video": ["--source", "text.mp4"],
    "no such camera": ["--source", "97"],
    "edge-convert writes it": ["--source", "demo", "--model", "lonely.tflite"],
    "no such file; detector.weights": ["--source", "demo", "--detector", "yunet", "--detector-weights", "nowhere.onnx"],
    "not a YuNet": ["--source", "demo", "--detector", "yunet", "--detector-weights", "text.mp4"],
    "a secret given as a flag": ["--source", "demo", "--mqtt-password", "hunter2"],
    "expected a whole number": ["--source", "demo", "--mqtt-keepalive", "x"],
    "password cannot be read": ["--source", "demo", "--mqtt-username", "a", "--mqtt-password-file", "nowhere"],
    "cannot be read": ["--config", "nowhere.toml"],
}


@pytest.mark.parametrize("part", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(tmp_path: Path, part: str) -> None:
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    (tmp_path / "lonely.tflite").write_bytes(b"x")
    status, said = run(tmp_path, free_port(), "--service-log-level", "error", *MISTAKES[part])
    # The TFLite runtime's C++ greets on standard error; how chattily depends on its version.
    lines = [line for line in said.splitlines() if line.startswith("edge-run: ")]
    assert status == 2, said
    assert len(lines) == 1, said
    assert "Traceback" not in said
    assert part in lines[0]
    assert "hunter2" not in said


def test_three_mistakes_in_a_file_are_three_lines(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[camra]\nsource = "0"\n[mqtt]\nhots = "x"\nport = 0\n')
    status, said = run(tmp_path, free_port(), "--config", "config.toml")
    assert status == 2
    lines = said.splitlines()
    assert len(lines) == 3
    assert all(part in line for part, line in zip(("camera?", "mqtt.host?", "mqtt.port"), lines, strict=True))


def test_as_a_service_a_missing_camera_degrades_and_the_watchdog_is_fed(
    tmp_path: Path, mosquitto: Mosquitto, subscriber: Subscriber
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(0.1)
        messages: list[str] = []

        def heard(text: str) -> bool:
            with suppress(TimeoutError):
                messages.append(manager.recv(4096).decode())
            return any(text in message for message in messages)

        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        with Run(tmp_path, mosquitto.port, "--source", "/dev/video97", **environment) as process:
            wait_for(lambda: heard("READY=1"), 30, "READY=1")
            wait_for(lambda: heard("STATUS=no camera"), 10, "the missing camera in the status")
            messages.clear()
            wait_for(lambda: heard("WATCHDOG=1"), 5, "the watchdog fed without a camera")
            subscriber.wait_for_payload("/availability", b"online")
            process.process.send_signal(signal.SIGTERM)
            assert process.wait(5) == 0, process.said
        subscriber.wait_for_payload("/availability", b"stopped")


def test_tensorflow_is_never_imported(tmp_path: Path, mosquitto: Mosquitto) -> None:
    program = (
        "import sys, edge; from edge.cli.run import main\n"
        "status = main(sys.argv[1:])\n"
        "heavy = {'tensorflow', 'keras', 'matplotlib', 'jax', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "raise SystemExit(status)\n"
    )
    whole = ["--source", "demo", "--host", HOST, "--port", str(mosquitto.port), "--state-dir", str(tmp_path / "state")]
    for arguments in (whole, ["--help"], ["--example-config"]):
        wrapped = program if arguments is whole else program.replace("status = main(sys.argv[1:])", QUIET)
        done = subprocess.run([sys.executable, "-c", wrapped, *arguments], capture_output=True, text=True, timeout=60, env=CLEAN)
        assert done.returncode == 0, done.stderr


QUIET = """
try:
    status = main(sys.argv[1:])
except SystemExit as end:
    status = end.code
heavy = {"cv2", "numpy", "paho"} & set(sys.modules)
assert not heavy, f"slow to answer because of {heavy}"
"""
