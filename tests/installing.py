"""Small real bundles, and a folder to install them into: a real wheel with a program that follows the service protocol."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from deploying import wheel

ROOT = Path(__file__).resolve().parents[1]
SYSTEMD = ROOT / "systemd"
MANAGER = ROOT / "tests/systemd/systemctl.py"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

# What the program in the wheel does once it is started.
GOOD = "ready(); signal.sigwait({signal.SIGTERM})"
CRASHES = "ready(); time.sleep(0.3); sys.exit(1)"
REFUSES = "print('edge-run: camera.sorce: no such setting', file=sys.stderr); sys.exit(2)"
SILENT = "time.sleep(60)"

PROGRAM = """
import os, signal, socket, sys, time

def ready():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"].replace("@", chr(0), 1))

def main():
    signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGTERM}})
    if sys.argv[1:] == ["--version"]:
        print("{version}")
    elif sys.argv[1:] == ["--check"]:
        {check}
    elif sys.argv[1:2] == ["build"]:
        print("engine of " + sys.argv[3])
    else:
        {serve}
"""


def make_wheel(folder: Path, version: str, serve: str = GOOD, check: str = "print('ready')") -> Path:
    """A wheel of `emotion-edge` with two commands of the device and one of the workstation."""
    files = {
        "edge/__init__.py": f'__version__ = "{version}"\n',
        "edge/cli.py": PROGRAM.format(version=version, serve=serve, check=check),
        "converters/__init__.py": "def main():\n    raise SystemExit('not here')\n",
        f"emotion_edge-{version}.dist-info/entry_points.txt": "[console_scripts]\nedge-run = edge.cli:main\n"
        "edge-engine = edge.cli:main\nedge-convert = converters:main\n",
    }
    content = {name: text.encode() for name, text in files.items()}
    return wheel(folder, f"emotion_edge-{version}-py3-none-any.whl", content)


def make_bundle(
    folder: Path, version: str, serve: str = GOOD, check: str = "print('ready')", interpreter: Path | None = None, **facts: Any
) -> Path:
    """An unpacked bundle in `folder`, as edge-bundle lays it out.

    Args:
        folder: is made.
        version: of the package.
        serve, check: statements of the program.
        interpreter: a Python that the bundle brings, as a link to one that is here.
        facts: of bundle.json, in place of those that fit this machine.
    """
    target = str(facts.get("target", "pi-bookworm64"))
    units = SYSTEMD if target.startswith("pi-") else SYSTEMD / "jetson"
    own = make_wheel(folder / "wheels", version, serve, check)
    digest = hashlib.sha256(own.read_bytes()).hexdigest()
    (folder / "requirements.txt").write_text(f"emotion-edge=={version} --hash=sha256:{digest}\n")
    (folder / "models").mkdir()
    (folder / "models/model.tflite").write_bytes(version.encode())
    (folder / "models/face_detection_yunet_2023mar.onnx").write_bytes(b"weights")
    (folder / "systemd").mkdir()
    for unit in (*units.glob("*.service"), SYSTEMD / "emotion-edge.sysusers"):
        shutil.copy(unit, folder / "systemd")
    for name in ("config.toml", "mosquitto.conf", "mosquitto.acl", "install.sh"):
        shutil.copy(SYSTEMD / name, folder)
    (folder / "README.md").write_text(f"version {version}\n")
    if interpreter:
        (folder / "python").mkdir()
        with tarfile.open(folder / "python/cpython.tar.gz", "w:gz") as archive:
            archive.add(interpreter, "python/bin/python3")
    seal(folder, version=version, **facts)
    return folder


def seal(folder: Path, **facts: Any) -> None:
    """Write bundle.json over what is in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "bundle.json")
    described = {
        "format": 1,
        "target": "pi-bookworm64",
        "version": "1.0",
        "python": PYTHON,
        "machine": platform.machine(),
        "glibc": "2.17",
        "model": "tiny 1.0.0 ab12cd34",
        "installed_bytes": 30_000_000,
        "files": {
            str(path.relative_to(folder)): {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
            for path in files
        },
    } | facts
    (folder / "bundle.json").write_text(json.dumps(described))


class Board:
    """A folder in place of a board.

    Args:
        folder: is made.
        booted: whether a service manager runs there: tests/systemd/systemctl.py, with the units of this folder.
        shell: what runs install.sh.
    """

    def __init__(self, folder: Path, booted: bool = False, shell: str = "sh") -> None:
        self.root, self.booted, self.shell = folder, booted, shell.split()
        self.programs = folder.parent / f"{folder.name}-bin"
        self.root.mkdir(parents=True)
        self.programs.mkdir()
        if booted:
            (self.root / "run/systemd/system").mkdir(parents=True)
            program = self.programs / "systemctl"
            program.write_text(f'#!/bin/sh\nexec {sys.executable} -I {MANAGER} "$@"\n')
            program.chmod(0o755)
            # What the real service said is no business of a folder.
            (self.programs / "journalctl").symlink_to("/bin/true")
        self.environment = {
            **os.environ,
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "SYSTEMCTL_ROOT": str(self.root),
            "PYTHON": sys.executable,
        }

    def command(self, bundle: Path, *arguments: str | Path) -> list[str]:
        """The command line that installs a bundle, or that runs another install.sh."""
        script = bundle if bundle.is_file() else bundle / "install.sh"
        return [*self.shell, str(script), "--root", str(self.root), "--patience", "3", *map(str, arguments)]

    def install(self, bundle: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        command = self.command(bundle, *arguments)
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=self.environment)

    def systemctl(self, *arguments: str) -> str:
        """What the service manager answers."""
        done = subprocess.run(
            [self.programs / "systemctl", *arguments], capture_output=True, text=True, timeout=30, env=self.environment
        )
        return done.stdout.strip()

    @property
    def current(self) -> str | None:
        """The version of the program that is current, asked of the program itself."""
        program = self.root / "usr/local/bin/edge-run"
        if not program.exists():
            return None
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30)
        return done.stdout.strip() or None

    def copy(self, folder: Path) -> Board:
        """The same board once more; what it runs there are the copies."""
        other = Board(folder, self.booted, " ".join(self.shell))
        shutil.copytree(self.root, folder, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("run"))
        for place in (
            *folder.glob("opt/emotion-edge/versions/*/venv/bin/*"),
            *folder.glob("opt/emotion-edge/versions/*/venv/*.cfg"),
        ):
            if not place.is_symlink() and str(self.root).encode() in (text := place.read_bytes()):
                place.write_bytes(text.replace(str(self.root).encode(), str(folder).encode()))
        return other

    @property
    def calls(self) -> list[str]:
        """What was asked of the service manager."""
        return (self.root / "run/systemd/system/calls").read_text().splitlines()

    def config(self, text: str | None = None) -> str:
        """The board's settings, after writing them where some are given."""
        path = self.root / "etc/emotion-edge/config.toml"
        if text is not None:
            path.write_text(text)
        return path.read_text()

    def version(self, link: str) -> str | None:
        """The name that `current` or `previous` points to, without its digest."""
        place = self.root / "opt/emotion-edge" / link
        return place.readlink().name.rsplit("-", 1)[0] if place.is_symlink() else None

    def tree(self) -> dict[str, str]:
        """Everything below it: paths with their content, target or mode; caches and logs left out."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if name.startswith("run/") or path.name == "__pycache__" or path.suffix == ".pyc":
                continue
            mode = f"{path.lstat().st_mode & 0o7777:04o}"
            if path.is_symlink():
                found[name] = str(path.readlink())
            elif path.is_dir():
                found[name] = mode
            else:
                found[name] = f"{mode} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        return found
