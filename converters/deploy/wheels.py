"""Wheels: what they hold, where they come from, and the project's own, built so that its bytes are always the same."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from converters.deploy.targets import Target
from edge.errors import DeployError

if TYPE_CHECKING:
    from converters.deploy.lock import Pin

PROJECT = "emotion-edge"
# The first second that a zip file can name; of every file in the wheel and in the bundle.
EPOCH = 315_532_800
# ext4's, in which the size of an installation is counted.
BLOCK = 4096
# A module and the byte code that pip makes of it, which is 1.4 times as large (measured on the packages of a Pi).
WITH_BYTECODE = 2.5
# What a wheel of this project is built from.
SOURCES = ("edge", "converters", "calibration")
FILES = ("pyproject.toml", "README.md", "LICENSE", "NOTICE")
BUILD = "from setuptools.build_meta import build_wheel; import sys; build_wheel(sys.argv[1])"


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel that is here.

    Attributes:
        path: of the file.
        name: normalised. version: as its file name has it.
        sha256: of the file.
        installed: bytes on a card once it is installed, in whole blocks, with byte code.
        requires: what it says it needs.
    """

    path: Path
    name: str
    version: str
    sha256: str
    installed: int
    requires: tuple[Requirement, ...]


def read_wheel(path: Path) -> Wheel:
    """What a wheel is.

    Raises:
        DeployError: it is no wheel.
    """
    try:
        name, version, _, _ = parse_wheel_filename(path.name)
        content = path.read_bytes()
        with zipfile.ZipFile(path) as file:
            members = file.infolist()
            [metadata] = [member for member in members if re.fullmatch(r"[^/]+\.dist-info/METADATA", member.filename)]
            requires = BytesHeaderParser().parsebytes(file.read(metadata)).get_all("Requires-Dist") or []
            parsed = tuple(Requirement(text) for text in requires)
    except (InvalidWheelFilename, InvalidRequirement, ValueError, zipfile.BadZipFile) as error:
        raise DeployError(f"{path}: not a wheel that can be read ({error})") from None
    except OSError as error:
        raise DeployError(f"{path}: cannot be read ({error.strerror})") from None
    installed = sum(
        int(blocks(member.file_size) * (WITH_BYTECODE if member.filename.endswith(".py") else 1)) for member in members
    )
    return Wheel(path, name, str(version), hashlib.sha256(content).hexdigest(), installed, parsed)


def fits(wheel: Wheel, target: Target) -> bool:
    """Whether a board's pip would take it, by the tags in its name."""
    version = tuple(int(word) for word in target.python.split("."))
    # Without the rest, packaging would add the tags of this machine.
    abi = f"cp{target.python.replace('.', '')}"
    good = {*cpython_tags(version, [abi], target.platforms), *compatible_tags(version, abi, target.platforms)}
    return bool(parse_wheel_filename(wheel.path.name)[3] & good)


def download(lock: Path, target: Target, folder: Path) -> None:
    """Bring the wheels of a lock into a folder; pip holds each against its hash.

    Raises:
        DeployError: one cannot be had, or is another.
    """
    run_pip("download", "--no-deps", "--require-hashes", "--dest", str(folder), *platform_options(target), "-r", str(lock))


def pick(pins: Mapping[str, Pin], folder: Path) -> list[Path]:
    """The wheels of a lock from a folder of one's own; others that lie there are left alone.

    Raises:
        DeployError: one is not there, or its content is another.
    """
    if not folder.is_dir():
        raise DeployError(f"{folder}: no such folder; --wheels names one with the wheels of the lock")
    here: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(folder.glob("*.whl")):
        try:
            name, version, _, _ = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        here.setdefault((name, str(version)), []).append(path)
    found = []
    for pin in pins.values():
        paths = here.get((pin.name, pin.version), [])
        good = [path for path in paths if hashlib.sha256(path.read_bytes()).hexdigest() in pin.hashes]
        if not good:
            problem = f"{paths[0].name} is another file than the lock's" if paths else "no wheel of it"
            raise DeployError(f"{folder}: {pin.name} {pin.version}: {problem}; leave --wheels out to download it")
        found.append(good[0])
    return found


def build_own(checkout: Path, folder: Path) -> Path:
    """Build the project's wheel: the same sources give the same bytes, wherever, whenever and by whomever it is built.

    Raises:
        DeployError: setuptools is too old or missing, or it cannot be built.
    """
    copy, out = folder / "source", folder / "wheel"
    out.mkdir(parents=True)
    for name in SOURCES:
        # Building leaves folders behind, and would pack what an earlier build left.
        shutil.copytree(checkout / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))
    for name in FILES:
        shutil.copyfile(checkout / name, copy / name)
    for path in sorted(copy.rglob("*")):
        # A checkout's modes are its owner's umask; a wheel carries them.
        path.chmod(0o755 if path.is_dir() else 0o644)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), "PYTHONHASHSEED": "0"}
    done = subprocess.run(  # noqa: S603  our own interpreter
        [sys.executable, "-c", BUILD, str(out)],
        cwd=copy,
        env=environment,
        umask=0o022,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise DeployError(
            f"{checkout}: its wheel cannot be built ({reason}); pip install 'emotion-edge[deploy]', or give --wheel"
        )
    [built] = out.glob("*.whl")
    return built


def platform_options(target: Target) -> list[str]:
    """For pip: wheels for that board instead of this machine."""
    options = ["--only-binary=:all:", f"--python-version={target.python}", "--implementation=cp"]
    options.append(f"--abi=cp{target.python.replace('.', '')}")
    return [*options, *(f"--platform={platform}" for platform in target.platforms)]


def run_pip(*arguments: str) -> None:
    """Run pip.

    Raises:
        DeployError: with pip's own last line.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own interpreter
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        reason = (errors or done.stderr.splitlines() or ["no reason given"])[0].removeprefix("ERROR: ")
        raise DeployError(f"pip {arguments[0]} failed: {reason}")


def is_own(wheel: Wheel) -> bool:
    """Whether it is this project's."""
    return wheel.name == canonicalize_name(PROJECT)


def blocks(size: int) -> int:
    """What a file of so many bytes takes on a card."""
    return -(-size // BLOCK) * BLOCK
