from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SERVICE = """
import time
from edge.health import Systemd
manager = Systemd()
assert manager.present
manager.ready("looking")
for _ in range(20):
    if manager.hungry():
        manager.feed()
    time.sleep(0.02)
manager.stopping()
"""


@pytest.mark.parametrize("abstract", [False, True])
def test_messages_reach_a_real_notification_socket(tmp_path: Path, abstract: bool) -> None:
    name = f"@emotion-edge-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind("\0" + name[1:] if abstract else name)
        server.settimeout(5)
        environment = {**os.environ, "NOTIFY_SOCKET": name, "WATCHDOG_USEC": "400000"}
        subprocess.run([sys.executable, "-c", SERVICE], env=environment, check=True, timeout=30)
        server.settimeout(0.2)
        messages = []
        while True:
            try:
                messages.append(server.recv(4096).decode())
            except TimeoutError:
                break
    assert messages[0] == "READY=1\nSTATUS=looking"
    assert messages[-1] == "STOPPING=1"
    # 0.4 s of life, fed at a quarter of WATCHDOG_USEC: about four meals, neither none nor one per turn of the loop.
    assert 2 <= messages.count("WATCHDOG=1") <= 6


def test_without_a_manager_nothing_happens() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in {"NOTIFY_SOCKET", "WATCHDOG_USEC"}}
    program = (
        "from edge.health import Systemd; s = Systemd(); assert not s.present; s.ready('x'); assert not s.hungry(); s.feed()"
    )
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=30)
