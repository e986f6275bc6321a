"""Whether the packages that run here were made for this system: version, glibc, processor, and a real import."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from edge.config import Settings
from edge.doctor.elf import glibc_needed, numbers
from edge.doctor.finding import Finding, Findings, broken, good, skipped
from edge.errors import first_line

MACHINES = ("x86_64", "aarch64")
# On a slow card the first import of a large package takes seconds, not minutes.
IMPORT_TIMEOUT = 60.0


class Package(msgspec.Struct, frozen=True):
    """A package that emotion-edge uses.

    Attributes:
        name: on the package index.
        module: what is imported.
        least, below: the versions that work: from `least` on, and before `below`; as pyproject.toml has them.
        extra: the extra of emotion-edge that brings it; None for what every device has.
    """

    name: str
    module: str
    least: str
    below: str | None = None
    extra: str | None = None

    @property
    def requirement(self) -> str:
        """For pip install."""
        return f"'{self.name}>={self.least}{f',<{self.below}' if self.below else ''}'"


PACKAGES = (
    Package("numpy", "numpy", "1.24"),
    Package("opencv-python-headless", "cv2", "4.8", "5"),
    Package("paho-mqtt", "paho.mqtt.client", "2.0", "3"),
    Package("msgspec", "msgspec", "0.18"),
    Package("flatbuffers", "flatbuffers", "23.5.26"),
)
# In the order in which edge-run looks for them.
TFLITE = (
    Package("ai-edge-litert", "ai_edge_litert.interpreter", "2.0", extra="litert"),
    Package("tflite-runtime", "tflite_runtime.interpreter", "2.13", extra="tflite"),
)
ONNX = Package("onnxruntime", "onnxruntime", "1.17", extra="onnx")
METRICS = Package("prometheus-client", "prometheus_client", "0.19", extra="metrics")
UPDATE = Package("cryptography", "cryptography", "41", extra="update")


def check(settings: Settings, _root: Path = Path("/")) -> Findings:
    """System, then every package that is needed, then those that may be."""
    yield system()
    for package in PACKAGES:
        yield examine(package, needed=True)
    tflite = [package for package in TFLITE if installed(package)]
    for package in tflite:
        yield examine(package, needed=True)
    onnx = (settings.model.path or "").endswith(".onnx")
    if not tflite and (not onnx or settings.detector.runtime == "tflite"):
        remedy = f"pip install {TFLITE[0].requirement}; where glibc is older than 2.34, {TFLITE[1].requirement}"
        yield broken("wheels.tflite", "no TFLite runtime is installed", remedy)
    yield examine(ONNX, needed=onnx)
    if settings.service.metrics_port:
        yield examine(METRICS, needed=True)
    if settings.update.key_file:
        yield examine(UPDATE, needed=True)


def system() -> Finding:
    """Python, processor and C library."""
    text = f"Python {platform.python_version()}, {platform.machine()}, {libc()}"
    if platform.machine() not in MACHINES or sys.maxsize < 2**32:
        return broken("wheels.system", f"{text}: there is no TFLite runtime for it", "install the 64-bit system of this board")
    return good("wheels.system", text)


def examine(package: Package, needed: bool) -> Finding:
    """One package; a missing one is broken only if it is needed."""
    name = f"wheels.{package.name}"
    remedy = f"pip install {package.requirement}"
    try:
        found = importlib.metadata.distribution(package.name)
        version = found.version
    except importlib.metadata.PackageNotFoundError:
        version = None
    if version is None and not installed(package):
        if not needed:
            return skipped(name, "not installed, and not needed by these settings")
        return broken(name, "not installed", remedy)
    if version is not None and not _fits(package, version):
        return broken(name, f"{version} is installed, {package.requirement.strip(chr(39))} is needed", remedy)
    wants, file = newest_glibc(shared_objects(package))
    if wants > (have := glibc()) and have:
        text = f"{version or 'it'} needs glibc {_dotted(wants)} ({file}), this system has {_dotted(have)}"
        return broken(
            name, text, "install an older version of it, or a newer system; docs/doctor.md has the versions for each glibc"
        )
    problem = import_problem(package)
    if problem is not None:
        return broken(name, f"{version or 'it'} is installed but cannot be imported: {problem}", f"{remedy} --force-reinstall")
    told = f", needs glibc {_dotted(wants)}" if wants else ""
    return good(name, f"{version or 'installed, version unknown'}{told}")


def installed(package: Package) -> bool:
    """Whether there is something to import, by whichever name it was installed (Debian's OpenCV has none)."""
    return importlib.util.find_spec(package.module.split(".")[0]) is not None


def shared_objects(package: Package) -> list[Path]:
    """The package's shared objects, with the libraries that the wheel brought."""
    try:
        listed = importlib.metadata.files(package.name)
    except importlib.metadata.PackageNotFoundError:
        listed = None
    if listed is not None:
        return [Path(str(file.locate())) for file in listed if ".so" in file.name]
    spec = importlib.util.find_spec(package.module.split(".")[0])
    folders = (spec.submodule_search_locations if spec else None) or []
    return [path for folder in folders for path in Path(folder).rglob("*.so*")]


def newest_glibc(files: list[Path]) -> tuple[tuple[int, ...], str | None]:
    """The newest glibc that any of these asks for, and the name of the file that does."""
    newest: tuple[int, ...] = ()
    asking = None
    for file in files:
        try:
            wants = glibc_needed(file)
        except (OSError, ValueError):
            # A damaged file shows when it is imported.
            continue
        if wants > newest:
            newest, asking = wants, file.name
    return newest, asking


def glibc() -> tuple[int, ...]:
    """This system's glibc, such as (2, 36); () where it has another C library."""
    return numbers(libc().removeprefix("glibc "))


def libc() -> str:
    """Name and version of the C library."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or "unknown C library"
    except (ValueError, OSError):
        return "no glibc"


def import_problem(package: Package) -> str | None:
    """Import it in a process of its own: a wheel for other processors kills the one that imports it."""
    try:
        done = subprocess.run(  # noqa: S603  our own interpreter and one of the names above
            [sys.executable, "-c", f"import {package.module}"], capture_output=True, timeout=IMPORT_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return f"it does not end within {IMPORT_TIMEOUT:.0f} s"
    if done.returncode == -signal.SIGILL:
        return "it was made for a processor with other instructions (SIGILL)"
    if done.returncode < 0:
        return f"it crashes ({signal.Signals(-done.returncode).name})"
    if done.returncode:
        # The last line of a traceback is the reason.
        return first_line(ValueError(done.stderr.decode(errors="replace").strip().rpartition("\n")[2]))
    return None


def _fits(package: Package, version: str) -> bool:
    # 2.0rc1 and 4.14.0.94 alike: what comes before the first word that is no number.
    found = tuple(int(word) for word in _leading_numbers(version))
    return found >= numbers(package.least) and (package.below is None or found < numbers(package.below))


def _leading_numbers(version: str) -> list[str]:
    words = []
    for word in version.split("."):
        if not word.isdecimal():
            break
        words.append(word)
    return words


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
