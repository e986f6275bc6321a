"""A Python for a board whose own is too old: one pinned archive, known by its sha256."""

from __future__ import annotations

import hashlib
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from edge.errors import DeployError
from edge.fetch import CHUNK, TIMEOUT

# Many times the archive; an endless answer fills no disk.
MOST = 200_000_000


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A relocatable Python as a .tar.gz with one folder `python/`.

    Attributes:
        file: its name in the bundle.
        url, sha256: where it is, and how it is known to be the right one.
    """

    file: str
    url: str
    sha256: str


# python-build-standalone's, as uv 0.8.22 pins it (crates/uv-python/download-metadata.json); made for glibc from 2.17 on,
# under Python's own licence (PSF-2.0).
PYTHON_310 = Interpreter(
    file="cpython-3.10.18-aarch64-unknown-linux-gnu.tar.gz",
    url="https://github.com/astral-sh/python-build-standalone/releases/download/20250918/"
    "cpython-3.10.18%2B20250918-aarch64-unknown-linux-gnu-install_only_stripped.tar.gz",
    sha256="072a6c78712d7a60a77dea98d5832853772625787dec5a0110bce66e709726ff",
)


def obtain(interpreter: Interpreter, given: Path | None, folder: Path) -> Path:
    """The archive: the given one, else a download into a folder.

    Raises:
        DeployError: it is not there, cannot be fetched, or is another one.
    """
    path = given or _download(interpreter, folder / interpreter.file)
    try:
        with path.open("rb") as file:
            found = hashlib.sha256()
            while chunk := file.read(CHUNK):
                found.update(chunk)
    except OSError as error:
        raise DeployError(f"{path}: cannot be read ({error.strerror})") from None
    if found.hexdigest() != interpreter.sha256:
        raise DeployError(
            f"{path}: sha256 is {found.hexdigest()[:12]}…, {interpreter.file} has {interpreter.sha256[:12]}…; "
            f"download it from {interpreter.url}"
        )
    return path


def _download(interpreter: Interpreter, path: Path) -> Path:
    try:
        # The address is the pinned one above.
        with urllib.request.urlopen(interpreter.url, timeout=TIMEOUT) as answer, path.open("wb") as file:  # noqa: S310
            while file.tell() < MOST and (chunk := answer.read(CHUNK)):
                file.write(chunk)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DeployError(f"{interpreter.url}: cannot be fetched ({reason}); give the file with --python") from None
    return path
