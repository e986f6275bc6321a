"""The demo: convert the shipped float model, start a broker, run the pipeline, print what a subscriber receives."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
FLOAT_MODEL = ROOT / "models" / "micro.keras"


def main() -> int:
    # As Ctrl-C does: leave through every `finally`, so that no process stays behind.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        return demo()
    except KeyboardInterrupt:
        return 130


def demo() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--source", help="your own video, picture or folder of pictures")
    choice.add_argument(
        "--camera", nargs="?", const="0", help="your camera: its number or /dev path (default 0); end with Ctrl-C"
    )
    parser.add_argument("--data", help="labelled faces, to see the conversion proven (fer2013.csv, .npz, folder by class)")
    arguments = parser.parse_args()
    caller = Path(os.environ.get("CALLER", "."))
    source = arguments.camera or arguments.source or "demo"
    if arguments.source and "://" not in source:
        source = str(caller / source)
    camera = f"/dev/video{arguments.camera}" if arguments.camera and arguments.camera.isdecimal() else arguments.camera
    for path, remedy in ((camera, "connect one, or use --source FILE"), (arguments.source and source, "name a file or folder")):
        if path and "://" not in path and not Path(path).exists():
            print(f"scripts/demo: {path}: not there; {remedy}", file=sys.stderr)
            return 2
    with tempfile.TemporaryDirectory(prefix="emotion-edge-") as folder:
        work = Path(folder)
        step("1. a Keras model becomes INT8")
        model = work / FLOAT_MODEL.name
        shutil.copy(FLOAT_MODEL, model)
        shutil.copy(FLOAT_MODEL.with_suffix(".toml"), model.with_suffix(".toml"))
        data = ["--data", caller / arguments.data] if arguments.data else []
        if status := subprocess.run([BIN / "edge-convert", "--int8", model, *data], check=False).returncode:
            return status
        step("2. faces become events; this is what a subscriber receives")
        with broker(work) as port, subscriber(port) as received:
            status = run_pipeline(source, model.with_suffix(".int8.tflite"), port, work)
            # The broker has every event by now; what is left is its way to the subscriber.
            settle(received)
        step(f"{len(received)} events received")
    if status == 0:
        print(
            "Next: ./scripts/demo --camera shows it on your camera, --source FILE on your own video.\n"
            "For a board: README.md, 'On a board'. To subscribe there: mosquitto_sub -h BOARD -t 'emotion/#' -v"
        )
    return status


def step(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def run_pipeline(source: str, model: Path, port: int, work: Path) -> int:
    command = [BIN / "edge-run", "--source", source, "--model", model, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--device", "demo", "--state-dir", work / "state", "--service-log-level", "warning"]
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except KeyboardInterrupt:
        # It says `stopped` and ends; Ctrl-C in a terminal has reached it already, a signal to this process has not.
        process.terminate()
        process.wait(10)
        return 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@contextmanager
def broker(work: Path) -> Iterator[int]:
    """A broker of our own on a free loopback port: mosquitto when installed, else amqtt."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mosquitto = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
    if mosquitto:
        config = work / "mosquitto.conf"
        config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
        command: list[str | Path] = [mosquitto, "-c", config]
    else:
        config = work / "amqtt.yaml"
        config.write_text(
            f"listeners:\n  default:\n    type: tcp\n    bind: 127.0.0.1:{port}\n"
            "plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin:\n    allow_anonymous: true\n"
        )
        command = [BIN / "amqtt", "-c", config]
    with (work / "broker.log").open("wb") as log:
        # A session of its own: Ctrl-C in the terminal must end the pipeline first, and the broker after it.
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(port, process, work / "broker.log")
        print(f"broker: {Path(command[0]).name} on 127.0.0.1:{port}", flush=True)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"scripts/demo: the broker did not start:\n{log.read_text()}")


@contextmanager
def subscriber(port: int) -> Iterator[list[dict[str, Any]]]:
    """A client apart from the pipeline that prints every message as `topic {json}` and keeps the events."""
    events: list[dict[str, Any]] = []

    def receive(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        print(message.topic, message.payload.decode(), flush=True)
        if message.topic.endswith("/events"):
            events.append(json.loads(message.payload))

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="demo-subscriber")
    topics = [("emotion/+/availability", 1), ("emotion/+/events", 1)]
    client.on_connect = lambda client, *_: client.subscribe(topics)
    client.on_message = receive
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        yield events
    finally:
        client.disconnect()
        client.loop_stop()


def settle(received: list[dict[str, Any]]) -> None:
    """Wait until no event has come for half a second."""
    count = -1
    while count != len(received):
        count = len(received)
        time.sleep(0.5)


if __name__ == "__main__":
    raise SystemExit(main())
