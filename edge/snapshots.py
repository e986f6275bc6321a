"""Pictures that the owner has asked for: of each new face and each new emotion, kept on this device and deleted in time.

They are written by a thread of their own, because an SD card can take half a second for a picture, and nothing waits for
it: when it cannot follow, pictures are left out.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.clock import rfc3339
from edge.config import Region, SnapshotSettings
from edge.errors import first_line
from edge.types import Face

log = logging.getLogger(__name__)

FOLDER = "snapshots"
WAITING = 4
# Between two looks for what has expired, seconds.
SWEEP = 60.0
# A face of six by six blocks cannot be told from another; hair and chin belong to a face as well.
BLOCKS, MARGIN = 6, 1.4
# The surroundings keep the light of the room and nothing else.
BACKGROUND_BLOCKS = 16
QUALITY = 85

Blur = Literal["faces", "background", "nothing"]


class Snapshots:
    """Takes pictures while it is started."""

    def __init__(self, settings: SnapshotSettings, state_dir: Path, regions: Sequence[Region] = ()) -> None:
        """Prepare; nothing is written yet.

        Args:
            settings: what to blur, how many to keep and for how long.
            state_dir: pictures go into its folder `snapshots`.
            regions: where faces are looked for; beyond them nobody would be blurred, so that is blurred as a whole.
        """
        self._settings, self._folder, self._regions = settings, state_dir / FOLDER, regions
        self._waiting: queue.Queue[tuple[NDArray[np.uint8], tuple[Face, ...], str] | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="snapshots", daemon=True)
        self._failing = False

    def start(self) -> None:
        """Begin to write and to sweep."""
        self._thread.start()

    def take(self, image: NDArray[np.uint8], faces: Sequence[Face], at: float, what: str) -> None:
        """Keep a picture, if pictures are kept. Returns at once.

        Args:
            image: uint8 (H, W, 3), BGR; it must not be changed afterwards.
            faces: every face in it, told about or not.
            at: Unix time of the picture, seconds.
            what: becomes part of the file's name, such as `new-happy`.
        """
        name = f"{rfc3339(at).replace(':', '').replace('.', '')}-{''.join(c for c in what if c.isalnum() or c in '-_')}.jpg"
        if self._settings.keep:
            with suppress(queue.Full):
                self._waiting.put_nowait((image, tuple(faces), name))

    def stop(self) -> None:
        """Write what waits, then end."""
        if self._thread.ident is None:
            return
        with suppress(queue.Full):
            self._waiting.put(None, timeout=1.0)
        self._thread.join(1.0)

    def _run(self) -> None:
        swept = -float("inf")
        while True:
            if time.monotonic() - swept >= SWEEP:
                swept = time.monotonic()
                sweep(self._folder, self._settings, time.time())
            try:
                entry = self._waiting.get(timeout=SWEEP)
            except queue.Empty:
                continue
            if entry is None:
                return
            try:
                self._write(*entry)
                self._failing = False
            except Exception as error:  # noqa: BLE001  a thread that ends would delete nothing any more
                if not self._failing:
                    log.warning("%s: no picture can be kept (%s)", self._folder, first_line(error))
                self._failing = True

    def _write(self, image: NDArray[np.uint8], faces: Sequence[Face], name: str) -> None:
        picture = blurred(image, faces, self._settings.blur)
        if self._settings.blur != "nothing" and self._regions:
            picture = only(picture, self._regions)
        done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        if not done:
            raise OSError("it cannot be encoded")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self._folder / f".{name}"
        # For the owner's eyes alone from its first byte on.
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data.tobytes())
        temporary.replace(self._folder / name)
        keep_newest(self._folder, self._settings.most)


def blurred(image: NDArray[np.uint8], faces: Sequence[Face], blur: Blur) -> NDArray[np.uint8]:
    """A picture of which some part cannot be recognised any more.

    Args:
        image: uint8 (H, W, 3); left as it is.
        faces: their canonical squares.
        blur: what is taken away.
    """
    match blur:
        case "nothing":
            return image
        case "faces":
            made = image.copy()
            for face in faces:
                part = _around(made, face)
                if part.size:
                    part[:] = _blocks(part, BLOCKS)
            return made
        case "background":
            made = _blocks(image, BACKGROUND_BLOCKS)
            for face in faces:
                _around(made, face)[:] = _around(image, face)
            return made


def only(image: NDArray[np.uint8], regions: Sequence[Region]) -> NDArray[np.uint8]:
    """A picture of which nothing but some regions can be recognised."""
    made, (height, width) = _blocks(image, BACKGROUND_BLOCKS), image.shape[:2]
    for x, y, w, h in regions:
        part = slice(int(y * height), math.ceil((y + h) * height)), slice(int(x * width), math.ceil((x + w) * width))
        made[part] = image[part]
    return made


def sweep(folder: Path, settings: SnapshotSettings, now: float) -> int:
    """Delete what is older than it may be, by the time of its file; returns how many.

    A file from the future was written before the clock was set; it goes as soon as its age cannot be told any more.
    """
    gone = 0
    for path in _pictures(folder):
        with suppress(OSError):
            if abs(now - path.stat().st_mtime) > settings.expire:
                path.unlink()
                gone += 1
    return gone


def keep_newest(folder: Path, most: int) -> None:
    """Delete the oldest of too many."""
    pictures = _pictures(folder)
    for path in pictures[: max(0, len(pictures) - most)]:
        path.unlink(missing_ok=True)


def _pictures(folder: Path) -> list[Path]:
    # Names begin with the time, so their order is that of time. A hidden one was being written when the power went.
    with suppress(OSError):
        return sorted(path for path in folder.iterdir() if path.suffix == ".jpg")
    return []


def _around(image: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
    """The part of a picture that shows a face, with a margin: a view."""
    half = MARGIN * face.side / 2
    height, width = image.shape[:2]
    left, right = (min(max(round(face.x + step), 0), width) for step in (-half, half))
    top, bottom = (min(max(round(face.y + step), 0), height) for step in (-half, half))
    return image[top:bottom, left:right]


def _blocks(image: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    small = cv2.resize(image, (min(count, width), min(count, height)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
