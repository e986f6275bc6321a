"""How light edge-run is on this machine: start to first event at a subscriber, peak memory, speed against real time.

    python benchmarks/run.py                      # the demo source
    python benchmarks/run.py clip.mp4 --runs 5    # your own clip; what follows -- goes to edge-run: -- --detector haar

Every run is a fresh process against a real mosquitto of its own. Medians are printed, with the smallest and largest.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2
import paho.mqtt.client as mqtt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", default="demo")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    arguments, flags = parser.parse_args(sys.argv[1:cut]), sys.argv[cut + 1 :]
    mosquitto = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
    if mosquitto is None:
        raise SystemExit("mosquitto is needed: apt-get install mosquitto")
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        config = Path(folder) / "mosquitto.conf"
        config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
        broker = subprocess.Popen([mosquitto, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            runs = [one_run(arguments.source, flags, port, Path(folder) / f"state{i}") for i in range(arguments.runs)]
        finally:
            broker.terminate()
            broker.wait(5)
    seconds = duration(arguments.source)
    report = {
        "start to first event, s": [run["first"] for run in runs],
        "whole run, s": [run["whole"] for run in runs],
        "peak memory, MB": [run["peak"] for run in runs],
        "processor time, s": [run["cpu"] for run in runs],
    }
    if seconds:
        report["times real time"] = [seconds / run["whole"] for run in runs]
    if arguments.json:
        print(json.dumps(report))
        return 0
    print(f"edge-run --source {arguments.source} {' '.join(flags)}: {arguments.runs} runs on {os.cpu_count()} cores")
    for name, values in report.items():
        print(f"  {name:26} {statistics.median(values):8.2f}   ({min(values):.2f} .. {max(values):.2f})")
    return 0


def one_run(source: str, flags: list[str], port: int, state: Path) -> dict[str, float]:
    received = threading.Event()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    ready = threading.Event()
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = lambda *_: received.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.subscribe("emotion/+/events", qos=1)
    ready.wait(5)
    command = [Path(sys.executable).parent / "edge-run", "--source", source, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--device", "benchmark", "--state-dir", state, "--service-log-level", "error", *flags]
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    if not received.wait(60):
        raise SystemExit("no event within a minute; is a face in this source?")
    first = time.monotonic() - start
    # wait4 gives this child's own peak, not the largest of all children so far.
    _, status, usage = os.wait4(process.pid, 0)
    whole = time.monotonic() - start
    client.disconnect()
    client.loop_stop()
    if status:
        raise SystemExit(f"edge-run ended with status {os.waitstatus_to_exitcode(status)}")
    return {"first": first, "whole": whole, "peak": usage.ru_maxrss / 1024, "cpu": usage.ru_utime + usage.ru_stime}


def duration(source: str) -> float:
    """Seconds of a video file; 0 for anything else."""
    if not Path(source).is_file():
        return 0.0
    video = cv2.VideoCapture(source)
    fps, frames = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
    return frames / fps if fps > 0 and frames > 1 else 0.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    raise SystemExit(main())
