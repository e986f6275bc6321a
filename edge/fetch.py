"""Downloads by a pinned address, size and sha256: whatever is wrong never gets the name under which it would be used."""

from __future__ import annotations

import hashlib
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO

from edge.errors import FetchError

CHUNK = 64 * 1024
# Of one connect or read, seconds; a slow line is fine as long as it moves.
TIMEOUT = 20.0

Report = Callable[[int, int], None]


def _silent(_done: int, _size: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that is not part of emotion-edge and that its users fetch.

    Attributes:
        name: what `edge-fetch` calls it.
        file: its name on this machine.
        url, size, sha256: where it is and how it is known to be the right one; size in bytes.
        licence: under which it is given.
        purpose: one line for people.
    """

    name: str
    file: str
    url: str
    size: int
    sha256: str
    licence: str
    purpose: str


ASSETS = (
    Asset(
        name="yunet",
        file="face_detection_yunet_2023mar.onnx",
        # The repository keeps it in Git LFS; this address gives the file, the repository's own only a pointer to it.
        url="https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models/face_detection_yunet/"
        "face_detection_yunet_2023mar.onnx",
        size=232_589,
        sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        licence="MIT",
        purpose="face detector, misses far fewer faces than haar",
    ),
)


def fetch(asset: Asset, source: str, folder: Path, report: Report = _silent) -> Path:
    """Bring an asset into a folder.

    A download that breaks off leaves a `.part`, with which the next call goes on. What is complete but wrong is deleted.

    Args:
        asset: what is expected.
        source: an http(s) url or a local file; the pinned size and sha256 count for both.
        folder: where it shall be; made when missing.
        report: called with the bytes so far and in all.

    Returns:
        The path of the verified file.

    Raises:
        FetchError: nothing is there, the connection broke, or what came is not the asset.
    """
    target, part = folder / asset.file, folder / f"{asset.file}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        problem = _bring(asset, source, part, report)
        if problem:
            raise FetchError(f"{source}: not the expected {asset.file}: {problem}; nothing was kept")
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        raise FetchError(f"{error.filename or folder}: cannot be read or written ({error.strerror})") from None
    return target


def mismatch(asset: Asset, path: Path) -> str | None:
    """What is wrong with a file that should be the asset; None when nothing is."""
    size = path.stat().st_size
    if size != asset.size:
        return f"{size:,} bytes, should be {asset.size:,}"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return None if digest == asset.sha256 else f"sha256 {digest[:12]}…, should be {asset.sha256[:12]}…"


def _bring(asset: Asset, source: str, part: Path, report: Report) -> str | None:
    """Fill the `.part`; what is complete and wrong is deleted and told."""
    resumed = False
    if source.startswith(("http://", "https://")):
        resumed = _download(asset, source, part, report)
    else:
        _copy(source, asset, part)
    problem = mismatch(asset, part)
    if problem:
        part.unlink()
    # The first half may be of another file or another day: the server's whole file decides.
    return _bring(asset, source, part, report) if problem and resumed else problem


def _copy(source: str, asset: Asset, part: Path) -> None:
    path = Path(source).expanduser()
    if not path.is_file():
        raise FetchError(f"{source}: neither an http(s) address nor a file that is there")
    if path.stat().st_size != asset.size:
        raise FetchError(f"{source}: not the expected {asset.file}: {mismatch(asset, path)}; nothing was kept")
    shutil.copyfile(path, part)


def _download(asset: Asset, url: str, part: Path, report: Report) -> bool:
    """Download, going on after what is there; returns whether it went on."""
    done = part.stat().st_size if part.exists() else 0
    if done >= asset.size:
        done = 0
    request = urllib.request.Request(url, headers={"User-Agent": "emotion-edge", "Accept-Encoding": "identity"})  # noqa: S310
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310 - http(s) by the caller's check
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()
        raise FetchError(f"{url}: the server says {error.code} {error.reason}; try again, or give a file with --from") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise FetchError(f"{url}: cannot be reached ({reason}); check the network, or give a file with --from") from None
    with answer:
        resumed = answer.status == HTTPStatus.PARTIAL_CONTENT and answer.headers.get("Content-Range", "").startswith(
            f"bytes {done}-"
        )
        start = done if resumed else 0
        with part.open("ab" if resumed else "wb") as file:
            got = _receive(answer, file, url, start, asset.size, report)
        promised = answer.headers.get("Content-Length")
    if promised is not None and promised.isdecimal() and got < min(start + int(promised), asset.size):
        raise FetchError(f"{url}: broke off at {got:,} of {asset.size:,} bytes; the same command goes on from there")
    return bool(resumed)


def _receive(answer: HTTPResponse, file: BinaryIO, url: str, done: int, size: int, report: Report) -> int:
    # One byte more than expected is enough to know that it is the wrong file; an endless answer fills no disk.
    while done <= size:
        try:
            chunk = answer.read(min(CHUNK, size + 1 - done))
        except (OSError, HTTPException) as error:
            raise FetchError(f"{url}: the connection broke ({error or 'closed'}); the same command goes on from there") from None
        if not chunk:
            break
        file.write(chunk)
        done += len(chunk)
        report(done, size)
    return done
