"""Runs in the emulated board: takes commands of the test from a virtio port, a JSON object to a line, and answers likewise."""

import json
import subprocess
import sys
import time
from pathlib import Path

PORT = Path("/dev/virtio-ports/agent")


def main() -> None:
    while not PORT.exists():
        time.sleep(0.2)
    with PORT.open("r+b", buffering=0) as port:
        say(port, {"id": 0, "status": 0, "output": ""})
        while True:
            line = read_line(port)
            if not line:
                # Nobody is at the other end yet.
                time.sleep(0.2)
                continue
            request = json.loads(line)
            say(port, {"id": request["id"], **answer(request)})


def answer(request: dict) -> dict:
    command = ["/bin/sh", "-c", request["command"]]
    try:
        # Nothing that is started here may hold the port, or an input that never ends.
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=request["timeout"]
        )
    except subprocess.TimeoutExpired as error:
        return {"status": 124, "output": (error.output or b"").decode(errors="replace")}
    return {"status": done.returncode, "output": done.stdout.decode(errors="replace")}


def read_line(port) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        part = port.read(4096)
        if not part:
            return b""
        line += part
    return line


def say(port, message: dict) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[port.write(data) :]


if __name__ == "__main__":
    sys.exit(main())
