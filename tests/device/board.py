"""A board in emulation: Debian's kernel on qemu's `virt` machine, its disk an image, its network this machine's loopback."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

# This machine's loopback, as the board sees it.
HOST = "10.0.2.2"
# A boot on a busy machine; on an idle one it is a tenth.
BOOT = 900.0
# audit: the kernel tells which system calls a service was killed for.
# The time-out is of Debian's own services, on a machine that has other things to do; ours keeps its own.
KERNEL_LINE = (
    "root=/dev/vda rw console=ttyAMA0 panic=-1 net.ifnames=0 audit=1 systemd.journald.forward_to_console=1 systemd.show_status=0 "
    "systemd.default_timeout_start_sec=900"
)
# A fifth of a boot, for what nobody looks at.
MASKED = ("e2scrub_reap.service", "systemd-logind.service", "systemd-binfmt.service", "getty.target", "dpkg-db-backup.timer")


class Firmware(NamedTuple):
    """What qemu loads."""

    kernel: Path
    initrd: Path


class Board:
    """One board. Whatever is written is in the image: `kill` is what a power cut is.

    Args:
        firmware: kernel and initrd.
        image: of its disk; it is changed.
        folder: for the console's log and the sockets.
        cpu: of qemu. cortex-a72 is that of a Raspberry Pi 4.

    Attributes:
        console: what the kernel and the journal have said, over all boots.
        seen: what the board has written to its port `seen`.
    """

    def __init__(self, firmware: Firmware, image: Path, folder: Path, cpu: str = "cortex-a72") -> None:
        self._firmware, self.image, self._folder, self._cpu = firmware, image, folder, cpu
        folder.mkdir(parents=True, exist_ok=True)
        self.console, self.seen = folder / "console.log", folder / "seen"
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._rest, self._number = b"", 0

    def start(self) -> None:
        """Power on; returns at once."""
        assert self._process is None, "it runs already"
        self.seen.write_bytes(b"")
        with self.console.open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._line, self._rest = self._connect(), b""

    def _command(self) -> list[str]:
        # Data that the guest has flushed is in the file; what it has not is in the guest's memory and goes with it.
        append = " ".join([KERNEL_LINE, *(f"systemd.mask={name}" for name in MASKED)])
        disk = f"if=none,id=disk,file={self.image},format=raw,cache=writeback"
        return [
            *("qemu-system-aarch64", "-M", "virt", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", self._cpu, "-smp", "2"),
            *("-m", "1536", "-nodefaults", "-display", "none", "-no-reboot"),
            *("-kernel", str(self._firmware.kernel), "-initrd", str(self._firmware.initrd), "-append", append),
            *("-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console"),
            *("-drive", disk, "-device", "virtio-blk-pci,drive=disk"),
            *("-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"),
            *("-device", "virtio-serial-pci"),
            *("-chardev", f"socket,id=agent,path={self._socket},server=on,wait=off"),
            *("-device", "virtserialport,chardev=agent,name=agent"),
            *("-chardev", f"file,id=seen,path={self.seen}", "-device", "virtserialport,chardev=seen,name=seen"),
        ]  # fmt: skip

    @property
    def _socket(self) -> Path:
        return self._folder / "agent"

    def _connect(self) -> socket.socket:
        line, until = socket.socket(socket.AF_UNIX), time.monotonic() + 30
        while True:
            try:
                # A path of a socket may have 107 bytes, and one of pytest's folders has more: so by its descriptor.
                folder = os.open(self._folder, os.O_RDONLY)
                line.connect(f"/proc/self/fd/{folder}/{self._socket.name}")
            except OSError:
                assert self._process is not None
                assert self._process.poll() is None, f"qemu has ended: {self.said()}"
                assert time.monotonic() < until, "qemu does not open its socket"
                time.sleep(0.1)
            else:
                return line
            finally:
                os.close(folder)

    def wait(self, timeout: float = BOOT) -> None:
        """Until it takes commands."""
        self._answer(0, time.monotonic() + timeout, "the board takes commands")

    def run(self, command: str, timeout: float = 300.0) -> str:
        """What a command says, run by root; it must end well.

        Raises:
            AssertionError: it fails, or takes too long.
        """
        status, output = self.attempt(command, timeout)
        assert status == 0, f"{command}: status {status}: {output}"
        return output

    def attempt(self, command: str, timeout: float = 300.0) -> tuple[int, str]:
        """Its exit status (124 after the timeout), and what it says."""
        assert self._line is not None, "the board is off"
        self._number += 1
        request = {"id": self._number, "command": command, "timeout": timeout}
        self._line.sendall(json.dumps(request).encode() + b"\n")
        answer = self._answer(self._number, time.monotonic() + timeout + 60, command)
        return answer["status"], answer["output"]

    def write(self, path: str, text: str) -> None:
        """Make a file."""
        self.run(f"printf %s {shlex.quote(text)} >{shlex.quote(path)}")

    def _answer(self, number: int, until: float, what: str) -> dict[str, Any]:
        assert self._line is not None
        self._line.settimeout(1)
        while time.monotonic() < until:
            while b"\n" in self._rest:
                line, _, self._rest = self._rest.partition(b"\n")
                message: dict[str, Any] = json.loads(line)
                if message["id"] == number:
                    return message
            try:
                part = self._line.recv(65536)
            except TimeoutError:
                continue
            assert part, f"qemu has ended: {self.said()}"
            self._rest += part
        raise AssertionError(f"not in time: {what}; the console: {self.said()}")

    def said(self, lines: int = 25) -> str:
        """The end of the console's log."""
        return "\n".join(self.console.read_text(errors="replace").splitlines()[-lines:])

    def kill(self) -> None:
        """SIGKILL: the power goes."""
        self._end(signal.SIGKILL)

    def stop(self, timeout: float = 300.0) -> None:
        """Shut down as one should."""
        assert self._line is not None
        assert self._process is not None
        self._line.sendall(json.dumps({"id": -1, "command": "systemctl poweroff", "timeout": 60}).encode() + b"\n")
        self._process.wait(timeout)
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None
        if self._line is not None:
            self._line.close()
            self._line = None

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
