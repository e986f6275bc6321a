"""What was measured on: a figure without its machine says nothing."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import msgspec

# MIDR part numbers of the cores in boards that people use for this; a 64-bit ARM kernel tells no names (Arm's Technical
# Reference Manuals, "Main ID Register").
ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
    "0xd42": "Cortex-A78AE",
}


class Machine(msgspec.Struct, frozen=True):
    """A machine in words; what the kernel does not tell is None.

    Attributes:
        arch: such as `aarch64`.
        board: such as `Raspberry Pi 5 Model B Rev 1.0`; None on a PC.
        cpu: the processor's name.
        cores: how many this process may use.
        governor: of the first core's clock; anything but `performance` makes short runs slower than long ones.
        kernel: its release.
    """

    arch: str
    board: str | None
    cpu: str | None
    cores: int
    governor: str | None
    kernel: str

    def __str__(self) -> str:
        named = ", ".join(name for name in (self.board, self.cpu) if name)
        return f"{named or 'unknown processor'}, {self.arch}, {self.cores} cores, Linux {self.kernel}"


def this_machine(root: Path = Path("/")) -> Machine:
    """Look this machine up.

    Args:
        root: where its proc and sys are.
    """
    return Machine(
        arch=platform.machine(),
        board=_text(root / "proc/device-tree/model"),
        cpu=_cpu(_text(root / "proc/cpuinfo") or ""),
        cores=cores(),
        governor=_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        kernel=platform.release(),
    )


def cores() -> int:
    """Cores that this process may use, which a container or systemd may have made fewer than there are."""
    return len(os.sched_getaffinity(0))


def busy() -> float:
    """Share of the cores that was in use during the last minute, by the kernel's load average."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def _cpu(cpuinfo: str) -> str | None:
    if found := re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE):
        return found[1].strip()
    parts = dict.fromkeys(re.findall(r"^CPU part\s*:\s*(0x[0-9a-f]+)$", cpuinfo, re.MULTILINE))
    return " + ".join(ARM_PARTS.get(part, f"ARM part {part}") for part in parts) or None


def _text(path: Path) -> str | None:
    try:
        # The device tree's texts end with a zero byte.
        return path.read_text(errors="replace").strip("\0\n ") or None
    except OSError:
        return None
