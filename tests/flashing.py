"""Boards to flash: small root file systems with what matters, real images of them, and a bundle. No mount, no root."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from deploying import AARCH64, MODEL, ROOT, elf, store

from converters.deploy.bundle import Request, build
from converters.deploy.targets import TARGETS
from converters.deploy.verify import unpack

# mke2fs and sfdisk lie where an ordinary user's PATH does not lead.
ENVIRONMENT = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "MTOOLS_SKIP_CHECK": "1"}
MEGABYTE = 1 << 20
BUNDLE = "opt/emotion-edge/bundle"
DONE = "etc/systemd/system/multi-user.target.wants/emotion-edge-setup.service"
HOSTS = "127.0.0.1\tlocalhost\n127.0.1.1\told\n"
PI_CMDLINE = "console=tty1 root=PARTUUID=1-02 rootfstype=ext4 fsck.repair=yes rootwait quiet"
BOOTS = {
    "bookworm": {"cmdline.txt": f"{PI_CMDLINE} init=/usr/lib/raspberrypi-sys-mods/firstboot\n", "config.txt": "arm_64bit=1\n"},
    "trixie": {
        "cmdline.txt": f"{PI_CMDLINE} resize\n",
        "config.txt": "arm_64bit=1\n",
        "meta-data": "dsmode: local\ninstance_id: rpios-image\n",
        "user-data": "#cloud-config\n#hostname: raspberrypi\n",
        "network-config": "#network:\n#  wifis:\n",
    },
}
NAMES = {"bookworm": "Raspberry Pi OS 12 (bookworm)", "trixie": "Raspberry Pi OS 13 (trixie)", "debian": "Debian 12"}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8Zk7Xn1y2qvJ0dT0t0w0q2c3d4e5f6g7h8i9j0k1l2 me@here"

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to root; sudo or fakeroot is not installed")


def run(*command: str | Path, **options: object) -> str:
    """What a program says; it must end well."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=ENVIRONMENT, timeout=60, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def make_bundle(folder: Path, target: str = "pi-bookworm64", checkout: Path = ROOT) -> Path:
    """A bundle as edge-bundle makes it, small."""
    parts = store(folder / f"{target}-parts", TARGETS[target])
    path = folder / "b.tar.xz"
    build(Request(TARGETS[target], MODEL, path, checkout, weights=None, wheels=parts.wheels, own=parts.own, lock=parts.lock))
    return path


def content_of(bundle: Path, folder: Path) -> dict[str, bytes]:
    """The files of a bundle."""
    unpack(bundle, folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make_root(
    folder: Path, kind: str = "debian", *, glibc: str = "2.36", python: str = "3.11", machine: int = AARCH64, tegra: bool = False
) -> Path:
    """The root of a board's system: its shell, C library and settings, in the places where Debian has them."""
    files: dict[str, bytes | str] = {
        "usr/bin/dash": elf(machine=machine),
        "usr/lib/aarch64-linux-gnu/libc.so.6": elf(machine=machine)
        + f"\0GNU C Library (Debian GLIBC {glibc}-9) stable release version {glibc}.\n".encode(),
        "usr/lib/os-release": f'PRETTY_NAME="{NAMES[kind]}"\n',
        f"usr/lib/python{python}/ensurepip/__init__.py": "",
        "etc/passwd": "root:x:0:0:root:/root:/bin/bash\npi:x:1000:1000:,,,:/home/pi:/bin/bash\n",
        "etc/hostname": "old\n",
        "etc/hosts": HOSTS,
        "etc/NetworkManager/NetworkManager.conf": "[main]\n",
        "etc/systemd/system/other.service": "[Unit]\n",
        "home/pi/.profile": "",
    }
    if kind != "debian":
        files["etc/rpi-issue"] = f"Raspberry Pi reference {kind}\n"
    if kind == "trixie":
        files["etc/cloud/cloud.cfg"] = "datasource_list: [ NoCloud, None ]\n"
    if tegra:
        files["etc/nv_tegra_release"] = "# R36 (release)\n"
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    links = {"bin": "usr/bin", "lib": "usr/lib", "usr/bin/sh": "dash", "etc/os-release": "../usr/lib/os-release"}
    for name, target in links.items():
        (folder / name).symlink_to(target)
    (folder / "root").mkdir(mode=0o700)
    if os.geteuid() == 0:
        for path in (folder / "home/pi", folder / "home/pi/.profile"):
            os.chown(path, 1000, 1000)
    return folder


def make_image(path: Path, root: Path, boot: dict[str, str] | None = None, *, label: str = "dos") -> Path:
    """An image of a card: a partition table, a FAT boot partition where there is something for it, and an ext4 root.

    Raspberry Pi OS makes its root larger when it boots; any other must have room for the installation.
    """
    megabytes = 48 if boot is None else 16
    parts = path.with_suffix(".parts")
    parts.mkdir()
    # Only root can make files of others; mke2fs takes them as they are.
    run(
        "mke2fs",
        "-q",
        "-t",
        "ext4",
        "-d",
        root,
        *([] if os.geteuid() == 0 else ["-E", "root_owner=0:0"]),
        parts / "root",
        f"{megabytes}M",
    )
    if label == "none":
        return (parts / "root").rename(path)
    lines, start = [f"label: {label}"], 1
    if boot is not None:
        run("mkfs.vfat", "-C", parts / "boot", 4096)
        for name, content in boot.items():
            (parts / "file").write_text(content)
            run("mcopy", "-i", parts / "boot", parts / "file", f"::{name}")
        kind = "c" if label == "dos" else "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
        lines.append(f"start={start}MiB, size=4MiB, type={kind}")
        start += 4
    lines.append(f"start={start}MiB, size={megabytes}MiB, type=L")
    with path.open("wb") as file:
        file.truncate((start + megabytes + 1) * MEGABYTE)
    run("sfdisk", "-q", path, input="\n".join(lines))
    for name, place in (("boot", 1), ("root", start)):
        if (parts / name).exists():
            run("dd", f"if={parts / name}", f"of={path}", "bs=1M", f"seek={place}", "conv=notrunc,sparse", "status=none")
    shutil.rmtree(parts)
    return path


def root_offset(image: Path) -> int:
    """Where its root file system begins, by sfdisk; 0 where all of it is one."""
    done = subprocess.run(["sfdisk", "-l", "-o", "Start", image], capture_output=True, text=True, env=ENVIRONMENT)
    return int(done.stdout.split()[-1]) * 512 if done.returncode == 0 and "Start" in done.stdout else 0


def superblock(image: Path) -> str:
    """What debugfs tells of its root file system."""
    return run("debugfs", "-R", "stats -h", f"{image}?offset={root_offset(image)}")


def tree_of(image: Path, folder: Path) -> dict[str, str]:
    """The tree of an image, read by debugfs: its file system must be clean."""
    place = f"{image}?offset={root_offset(image)}"
    run("e2fsck", "-fn", place)
    assert "Filesystem state:         clean\n" in superblock(image)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    run("debugfs", "-R", f"rdump / {folder}", place)
    shutil.rmtree(folder / "lost+found", ignore_errors=True)
    return tree(folder)


def tree(folder: Path) -> dict[str, str]:
    """Every path with its mode, owner and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        there = path.lstat()
        # debugfs gives copies of links to whoever copies.
        about = "" if path.is_symlink() else f"{stat.S_IMODE(there.st_mode):04o} {there.st_uid}:{there.st_gid} "
        if path.is_symlink():
            about += f"-> {path.readlink()}"
        elif path.is_file():
            about += hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(folder))] = about
    return found


def boot_of(image: Path) -> dict[str, str]:
    """The boot partition of an image, read by mtools."""
    place = f"{image}@@{MEGABYTE}"
    names = [line.removeprefix("::/") for line in run("mdir", "-b", "-i", place, "::").splitlines()]
    return {name: run("mcopy", "-n", "-i", place, f"::{name}", "-") for name in names}


def digest(path: Path) -> str:
    """sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
