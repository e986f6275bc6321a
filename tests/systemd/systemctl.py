"""A small service manager for the tests of install.sh: it really runs the units' programs, below $SYSTEMCTL_ROOT.

Of systemctl(1): daemon-reload, enable, disable --now, start, restart, stop, is-active, show -p MainPID. Of systemd.service(5):
Type=notify and oneshot, Restart=on-failure, RestartPreventExitStatus=, StateDirectory= left aside. A unit that daemon-reload has
not read does not exist, as with the real one.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(os.environ["SYSTEMCTL_ROOT"])
RUN = ROOT / "run/systemd/system"
# The units have 60 and 2 s.
START_LIMIT, RESTART_AFTER = 1.0, 0.2


def main(verb: str, *rest: str) -> int:
    units = [word.removesuffix(".service") for word in rest if not word.startswith("-") and word != "MainPID"]
    with (RUN / "calls").open("a") as calls:
        calls.write(f"{verb} {' '.join(units)}\n")
    if verb == "daemon-reload":
        for old in RUN.glob("*.loaded"):
            old.unlink()
        for unit in (ROOT / "etc/systemd/system").glob("*.service"):
            (RUN / f"{unit.stem}.loaded").write_text(unit.read_text())
        return 0
    (unit,) = units
    if verb == "is-active":
        state = _read(unit)[0]
        if "--quiet" not in rest:
            print(state)
        return 0 if state == "active" else 3
    if verb == "show":
        print(f"MainPID={_read(unit)[1]}")
        return 0
    if verb in ("stop", "disable"):
        _stop(unit)
        (ROOT / f"etc/systemd/system/multi-user.target.wants/{unit}.service").unlink(missing_ok=True)
        return 0
    loaded = RUN / f"{unit}.loaded"
    if not loaded.exists():
        print(f"Unit {unit}.service not found.", file=sys.stderr)
        return 5
    if verb == "enable":
        link = ROOT / f"etc/systemd/system/multi-user.target.wants/{unit}.service"
        link.parent.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(f"/etc/systemd/system/{unit}.service")
        return 0
    if verb in ("start", "restart"):
        return _start(unit, loaded.read_text())
    print(f"systemctl: {verb} is not known here", file=sys.stderr)
    return 1


def _read(unit: str) -> tuple[str, int]:
    with contextlib.suppress(OSError, ValueError):
        state, pid = (RUN / f"{unit}.state").read_text().split()
        return state, int(pid)
    return "inactive", 0


def _write(unit: str, state: str, pid: int = 0) -> None:
    new = RUN / f"{unit}.new"
    new.write_text(f"{state} {pid}")
    new.replace(RUN / f"{unit}.state")


def _stop(unit: str) -> None:
    keeper = RUN / f"{unit}.keeper"
    if keeper.exists():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(keeper.read_text()), signal.SIGKILL)
        keeper.unlink()
    _write(unit, "inactive")


def _start(unit: str, text: str) -> int:
    _stop(unit)
    (line,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    program, *arguments = line.split()
    command = [f"{ROOT}{program}", *arguments]
    if "Type=oneshot" in text:
        status = subprocess.run(command).returncode
        _write(unit, "active" if status == 0 else "failed")
        return int(status != 0)
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        return int(os.read(reader, 1) != b"0")
    # The keeper: its own session, and nothing of the caller's.
    os.setsid()
    (RUN / f"{unit}.keeper").write_text(str(os.getpid()))
    with (RUN / f"{unit}.log").open("a") as log:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log.fileno(), 1)
        os.dup2(1, 2)
    answer = os.dup2(writer, 3)
    os.closerange(4, 256)
    while True:
        _run_once(unit, command, answer)
        time.sleep(RESTART_AFTER)


def _run_once(unit: str, command: list[str], answer: int) -> None:
    """Run the program to its end; the first time, tell the caller how its start went."""
    # In the abstract namespace: a path has 107 characters at most, and a test's folder may have more.
    address = f"@emotion-edge-test-{os.getpid()}-{unit}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind("\0" + address[1:])
        channel.settimeout(0.02)
        process = subprocess.Popen(command, env={**os.environ, "NOTIFY_SOCKET": address}, close_fds=True)
        _write(unit, "activating", process.pid)
        deadline = time.monotonic() + START_LIMIT
        ready = False
        while process.poll() is None and (ready or time.monotonic() < deadline):
            with contextlib.suppress(TimeoutError):
                if channel.recv(100) == b"READY=1":
                    ready = True
                    _write(unit, "active", process.pid)
                    _answer(answer, b"0")
        process.kill()
        status = process.wait()
    _write(unit, "failed" if status == 2 else "inactive" if status == 0 else "activating")
    _answer(answer, b"1")
    if status in (0, 2):
        os._exit(0)


def _answer(descriptor: int, word: bytes) -> None:
    # The caller waits for the first word alone.
    with contextlib.suppress(OSError):
        os.write(descriptor, word)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    raise SystemExit(main(*sys.argv[1:]))
