"""A Debian for 64-bit ARM as it comes from its mirror: a root file system that nobody has touched, and a kernel."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

from device.cache import cached, digest

SUITE = "bookworm"
# What an image for a board has at least, and what the installer asks for. libeatmydata1 is for the negative control of the
# power cuts alone: nothing uses it until a test says so.
PACKAGES = (
    "python3", "python3-venv", "ca-certificates", "systemd", "systemd-sysv", "dbus", "udev", "kmod", "iproute2", "libeatmydata1",
)  # fmt: skip
KERNEL = ("linux-image-arm64", "busybox-static")
COMMON = ("mmdebstrap", "--quiet", "--arch=arm64", "--skip=check/qemu", "--dpkgopt=force-unsafe-io")


def mirror() -> str:
    """The mirror that this machine's own apt uses, or EMOTION_EDGE_MIRROR where that is no Debian's."""
    if given := os.environ.get("EMOTION_EDGE_MIRROR"):
        return given
    command = ["apt-get", "indextargets", "--format", "$(SITE) $(CODENAME) $(COMPONENT)", "Created-By: Packages"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    sites = [line.split()[0] for line in lines if line.endswith(f" {SUITE} main")]
    assert sites, f"apt knows no mirror of Debian {SUITE} here; name one in EMOTION_EDGE_MIRROR"
    return sites[0]


def root() -> Path:
    """root.tar: a minimal system with systemd and Python, its packages configured (under qemu-user)."""

    def make(folder: Path) -> None:
        _bootstrap("minbase", PACKAGES, folder / "root.tar")

    return cached("root", digest([SUITE, *PACKAGES, *COMMON]), make) / "root.tar"


def kernel() -> Path:
    """A folder with boot/vmlinuz, bin/busybox and lib/modules/VERSION, where depmod has been."""

    def make(folder: Path) -> None:
        archive = folder / "all.tar"
        _bootstrap("extract", KERNEL, archive)
        with tarfile.open(archive) as tar:
            wanted = [m for m in tar if m.name.startswith(("./boot/vmlinuz-", "./lib/modules/", "./bin/busybox"))]
            # Python 3.11.4 and later; what mmdebstrap has written is to be taken as it is.
            tar.extractall(folder, wanted, **({"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}))
        archive.unlink()
        image = next((folder / "boot").iterdir())
        image.rename(folder / "boot/vmlinuz")
        subprocess.run(["depmod", "-b", folder, image.name.removeprefix("vmlinuz-")], check=True)

    return cached("kernel", digest([SUITE, *KERNEL, *COMMON]), make)


def _bootstrap(variant: str, packages: tuple[str, ...], archive: Path) -> None:
    command = [
        *COMMON,
        f"--variant={variant}",
        f"--include={','.join(packages)}",
        SUITE,
        str(archive),
        f"deb {mirror()} {SUITE} main",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-2000:]}"
