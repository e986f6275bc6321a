"""Eight hours before a camera that hangs up and a broker that is killed: memory, threads and files stay flat.

At full length EMOTION_EDGE_SOAK_HOURS brings the same rounds into other hours, EMOTION_EDGE_SOAK_FLAGS gives edge-run other
flags; -s shows each reading.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import pytest
from brokers import HOST, Mosquitto, Subscriber, wait_for
from networks import NetworkCamera

from edge.camera.demo import Demo

HOURS = float(os.environ.get("EMOTION_EDGE_SOAK_HOURS", "8"))
FLAGS = shlex.split(os.environ.get("EMOTION_EDGE_SOAK_FLAGS", "--detector haar"))
# A run of the short one; its rounds are those of the long one.
ROUNDS, LONG_ROUNDS = 2, 120
ROUND, LONG_ROUND = 8.0, 3600 * HOURS / LONG_ROUNDS


class Usage(NamedTuple):
    """What a process has taken from the machine."""

    resident: int
    threads: int
    files: int


def usage(process: int) -> Usage:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    files = len(list(Path(f"/proc/{process}/fd").iterdir()))
    return Usage(int(status["VmRSS"].split()[0]) * 1024, int(status["Threads"]), files)


@pytest.fixture(scope="module")
def scene() -> list[bytes]:
    """The demo as pictures of a network camera: people come and go."""
    demo, pictures = Demo(), list[bytes]()
    while (frame := demo.read()) is not None:
        pictures.append(cv2.imencode(".jpg", frame.image)[1].tobytes())
    return pictures


def test_it_goes_on_and_on(tmp_path: Path, mosquitto: Mosquitto, scene: list[bytes], full: bool) -> None:
    rounds, seconds = (LONG_ROUNDS, LONG_ROUND) if full else (ROUNDS, ROUND)
    with NetworkCamera(scene) as camera, Subscriber(mosquitto.port, "emotion/test/#", persistent=True) as subscriber:
        command = [str(Path(sys.executable).parent / "edge-run"), "--source", f"http://127.0.0.1:{camera.port}/", "--host", HOST]
        command += ["--port", str(mosquitto.port), "--device", "test", "--state-dir", str(tmp_path / "state")]
        command += FLAGS
        command += ["--delivery-update-interval", "2", "--delivery-stats-interval", "2", "--delivery-hold", "5"]
        with (tmp_path / "run.log").open("wb") as log, subprocess.Popen(command, stderr=log, stdout=log) as process:
            try:
                subscriber.wait_for_ids(2, 60)
                readings = []
                for number in range(rounds):
                    time.sleep(seconds)
                    readings.append(usage(process.pid))
                    print(f"{number}: {readings[-1]}, {len(subscriber.ids())} events", flush=True)
                    if number % 2:
                        camera.hang_up()
                        wait_for(lambda: subscriber.decoded("/state")[-1]["problems"] == ["camera"], 30, "the camera is missed")
                        camera.back()
                    else:
                        mosquitto.kill()
                        mosquitto.start()
                    known = len(subscriber.ids())
                    subscriber.wait_for_ids(known + 2, 60)
                assert process.poll() is None, (tmp_path / "run.log").read_text()
                readings.append(usage(process.pid))
            finally:
                process.terminate()
                process.wait(20)
    seqs = sorted({event["seq"] for event in subscriber.events()})
    assert seqs == list(range(1, len(seqs) + 1)), "no event is missing"
    # The first third fills caches and pools; afterwards nothing grows.
    settled, last = readings[len(readings) // 3], readings[-1]
    assert last.resident - settled.resident < 12e6, readings
    assert last.threads <= settled.threads + 2, readings
    assert last.files <= settled.files + 4, readings
