"""What the tests with a board begin with: a bundle, a root file system that is ready to be flashed, and an image of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from device import debian, modules
from device.board import Firmware
from device.cache import cached, digest

from converters.deploy.flash.board import with_key
from edge.camera.demo import find_portraits
from edge.emotion.classify import DEFAULT_MODEL
from edge.emotion.manifest import manifest_path, read_manifest

ROOT = Path(__file__).resolve().parents[2]
GUEST = Path(__file__).resolve().parent / "guest"
TARGET = "pi-bookworm64"
SIZE = "1800M"
# In the board.
TOOLS, FACE, CROP = "/usr/local/lib/emotion-edge-test", "/srv/face.png", "/srv/crop.npy"
PYTHON = "/opt/emotion-edge/current/venv/bin/python"
UNIT = f"""[Unit]
Description=takes commands of the test
[Service]
ExecStart=/usr/bin/python3 {TOOLS}/agent.py
Restart=always
"""
NETWORK = """[Match]
Name=eth0
[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
LinkLocalAddressing=no
IPv6AcceptRA=no
"""


def command(name: str, *arguments: str | Path) -> str:
    """What one of the project's commands says; it must end well."""
    done = subprocess.run(
        [sys.executable, "-m", f"converters.cli.{name}", *map(str, arguments)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
    return done.stdout


def bundle() -> Path:
    """What `edge-bundle` makes of this checkout. Without YuNet, whose weights are not everywhere to be had."""
    folders = ("edge", "converters", "calibration", "systemd")
    files = [
        path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.is_file() and path.suffix != ".pyc"
    ]
    files += [ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE")]
    names = [str(path.relative_to(ROOT)) for path in files]

    def make(folder: Path) -> None:
        command("bundle", "--target", TARGET, "--model", DEFAULT_MODEL, "--no-yunet", "-o", folder / "b.tar.xz")

    return cached("bundle", digest([*names, *files]), make) / "b.tar.xz"


def firmware() -> Firmware:
    """Debian's kernel, and an initrd that finds the disk."""
    kernel = debian.kernel()

    def make(folder: Path) -> None:
        (folder / "tree").mkdir()
        modules.make_initrd(kernel, folder / "tree", folder / "initrd")

    place = cached("initrd", digest([kernel.name, Path(modules.__file__)]), make)
    return Firmware(kernel / "boot/vmlinuz", place / "initrd")


def unpack_root(folder: Path) -> Path:
    """The root file system as Debian makes it."""
    folder.mkdir(parents=True)
    subprocess.run(["tar", "-xf", debian.root(), "-C", folder, "--numeric-owner"], check=True)
    return folder


def equip(root: Path) -> None:
    """What the test needs in a board: modules, a network, its agent, a camera without hardware, a face, a crop."""
    modules.lay_modules(debian.kernel(), root)
    lay_tools(root)
    files = {
        "etc/systemd/network/eth0.network": NETWORK,
        "etc/systemd/system/test-agent.service": UNIT,
        "etc/modules-load.d/vivid.conf": "vivid\n",
        # One camera, and nothing else of what vivid can be.
        "etc/modprobe.d/vivid.conf": "options vivid n_devs=1 node_types=0x1\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    for unit in ("/etc/systemd/system/test-agent.service", "/lib/systemd/system/systemd-networkd.service"):
        (wants / Path(unit).name).symlink_to(unit)


def lay_tools(root: Path) -> None:
    """Our programs, a portrait, and a crop of it in the size that the network takes: bytes, as resizes differ by machine."""
    shutil.copytree(GUEST, root / TOOLS.lstrip("/"), ignore=shutil.ignore_patterns("__pycache__"))
    file, _ = find_portraits()[0]
    picture = cv2.imread(str(file))
    assert picture is not None
    (root / "srv").mkdir(exist_ok=True)
    cv2.imwrite(str(root / FACE.lstrip("/")), cv2.resize(picture, (400, 400), interpolation=cv2.INTER_AREA))
    spec = read_manifest(manifest_path(DEFAULT_MODEL)).input
    gray = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(gray, (spec.width, spec.height), interpolation=cv2.INTER_AREA)
    np.save(root / CROP.lstrip("/"), np.repeat(small[:, :, None], spec.channels, axis=2))


def run_here(folder: Path, tool: str, *arguments: str | Path) -> str:
    """What one of our programs says on this machine; `folder` has them, from `lay_tools`."""
    command = [sys.executable, f"{folder}{TOOLS}/{tool}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def scores_here(folder: Path) -> str:
    """The INT8 scores of the default model as this machine's own processor computes them."""
    lay_tools(folder)
    return run_here(folder, "scores.py", DEFAULT_MODEL, f"{folder}{CROP}")


def copy_model(folder: Path, version: str) -> Path:
    """The default model under another version, with its manifest."""
    model = Path(shutil.copy(DEFAULT_MODEL, folder))
    manifest = json.loads(manifest_path(DEFAULT_MODEL).read_text())
    manifest_path(model).write_text(json.dumps({**manifest, "version": version}))
    return model


def unpack_bundle(bundle_file: Path, folder: Path) -> None:
    """As a person unpacks it."""
    folder.mkdir(parents=True)
    subprocess.run(["tar", "-xf", bundle_file, "-C", folder, "--strip-components=1"], check=True)


def settings(bundle_file: Path, folder: Path) -> str:
    """The bundle's own configuration, for a board that is hundreds of times slower: a portrait that stays."""
    unpack_bundle(bundle_file, folder)
    text = (folder / "config.toml").read_text()
    changes = {
        "camera": {"source": FACE, "still": 86400},
        "detector": {"threads": 1, "every": 2},
        "delivery": {"update_interval": 0.2, "stats_interval": 5},
        "update": {"healthy": 10},
    }
    for section, keys in changes.items():
        for key, value in keys.items():
            text = with_key(text, section, key, value)
    return text


def make_image(root: Path, path: Path) -> None:
    """An ext4 of all that is in a folder; no mount."""
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, path, SIZE], check=True, capture_output=True)
