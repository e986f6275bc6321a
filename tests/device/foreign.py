"""Programs of another processor, one at a time, by qemu-user: without a kernel of their own, and so without a service."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

REGISTERED = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
# As a booted Linux prints them. pytorch's cpuinfo, which XNNPACK asks, reads these lines (and /sys), whatever qemu computes.
FEATURES = {
    "cortex-a72": ("0xd08", "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"),
    "cortex-a76": (
        "0xd0b",
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs",
    ),
}
# In a mount namespace of its own: whatever happens, nothing stays mounted.
INSIDE = """root=$0 info=$1
shift
mount -t proc proc "$root/proc" && {sys} mount --bind "$info" "$root/proc/cpuinfo" && exec chroot "$root" "$@"
"""
SYS = 'mount -t sysfs -o ro sysfs "$root/sys" &&'


def need_binfmt() -> None:
    """The test is skipped where the kernel does not start programs of another processor, and cannot be told to."""
    if not REGISTERED.exists():
        pytest.skip("qemu-user is not installed as an interpreter (binfmt_misc), and only root of the machine can do that")


def run(root: Path, cpu: str, *command: str, sys: bool = True, timeout: float = 3600.0) -> subprocess.CompletedProcess[str]:
    """Run a program of the root file system, as if on a processor.

    Args:
        cpu: one of FEATURES. Without a name qemu computes with extensions that no board has, and INT8 comes out wrong.
        sys: mount /sys too.
    """
    part, features = FEATURES[cpu]
    lines = f"BogoMIPS\t: 125.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n"
    text = "".join(
        f"processor\t: {number}\n{lines}CPU part\t: {part}\nCPU revision\t: 3\n\n" for number in range(os.cpu_count() or 1)
    )
    (root / "cpuinfo").write_text(text)
    shell = ["unshare", "--mount", "sh", "-c", INSIDE.format(sys=SYS if sys else ""), str(root), str(root / "cpuinfo")]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "QEMU_CPU": cpu, "LC_ALL": "C.UTF-8"}
    return subprocess.run([*shell, *command], capture_output=True, text=True, env=environment, timeout=timeout)
