"""Replays: every frame is seen, and time is the presentation time, counted from zero."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera import PICTURES
from edge.camera.geometry import MOST_PIXELS, refuse_giants, to_bgr
from edge.errors import CameraError
from edge.types import Frame

log = logging.getLogger(__name__)

# Frames per second of a picture that is held.
STILL_RATE = 10.0
# A container without a rate (a raw stream in a file).
ASSUMED_RATE = 25.0


class VideoFile:
    """A video file, read to its end by the FFmpeg inside OpenCV."""

    live = False

    def __init__(self, path: Path) -> None:
        # os.path: a folder that may not be looked into answers no instead of raising.
        if not os.path.isfile(path):  # noqa: PTH113
            # A mistyped url may hold a password.
            told = path.name if "@" in str(path) else path
            raise CameraError(
                f"{told}: no such file or folder, or this user may not see it (a service does not see /home); name a camera "
                "index, a url, a video, a picture, a folder or `demo`"
            )
        self._path, self._number, self._time = path, 0, 0.0
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        try:
            size = self._capture.get(cv2.CAP_PROP_FRAME_WIDTH), self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
            refuse_giants(str(path), *size)
        except CameraError:
            self._capture.release()
            raise
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._rate = rate if 0 < rate <= 1000 else ASSUMED_RATE
        self._next = self._decode()
        if self._next is None:
            self._capture.release()
            raise CameraError(f"{path}: not a video that can be read; give a video, a picture or a folder of pictures")
        height, width = self._next.image.shape[:2]
        self._description = f"video {path.name}, {width}x{height} at {self._rate:g} frames/s"

    def read(self) -> Frame | None:
        frame = self._next
        if frame is not None:
            self._next = self._decode()
            if self._next is None:
                self._warn_if_cut_off()
        return frame

    def describe(self) -> str:
        return self._description

    def kill(self) -> None:
        """A file does not block."""

    def close(self) -> None:
        self._capture.release()

    def _decode(self) -> Frame | None:
        good, image = self._capture.read()
        if not good:
            return None
        told = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        # Containers without usable stamps tell zero, nothing, or jump back; time must go on for the tracks.
        if self._number and not (math.isfinite(told) and told > self._time):
            told = self._time + 1 / self._rate
        self._time = told if self._number else 0.0
        frame = Frame(to_bgr(image), self._number, self._time, self._time)
        self._number += 1
        return frame

    def _warn_if_cut_off(self) -> None:
        promised = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        # The count is an estimate in some containers.
        if promised > 0 and self._number < 0.9 * promised:
            log.warning("%s: ends after %d of %d frames; the file is damaged or cut off", self._path, self._number, promised)


class Pictures:
    """Pictures that have nothing to do with each other, each held for a while; every one is a scene of its own."""

    live = False

    def __init__(self, paths: list[Path], still: float) -> None:
        """Open an album.

        Args:
            paths: from `list_pictures`.
            still: seconds of replay time for which each is held.

        Raises:
            CameraError: one of them is no picture.
        """
        for path in paths:
            if not os.path.isfile(path):  # noqa: PTH113
                raise CameraError(f"{path}: no such file, or this user may not see it (a service does not see /home)")
            # Only the first is decoded now; a look at the others' first bytes finds a wrong file before anything starts.
            if not cv2.haveImageReader(str(path)):
                raise CameraError(f"{path}: not a picture that can be read; remove it or save it again as .jpg or .png")
        self._paths, self._frames_each = paths, max(1, round(still * STILL_RATE))
        self._number, self._scene = 0, 0
        self._image: NDArray[np.uint8] | None = None
        # One picture alone has to be good; of many, those that are damaged are left out.
        if len(paths) == 1:
            self._image = _load(paths[0])
            height, width = self._image.shape[:2]
            self._description = f"picture {paths[0].name}, {width}x{height}"
        else:
            self._description = f"{len(paths)} pictures in {paths[0].parent.name}"

    def read(self) -> Frame | None:
        if self._number == (self._scene + 1) * self._frames_each:
            self._scene += 1
            self._image = None
        while self._scene < len(self._paths) and self._image is None:
            try:
                self._image = _load(self._paths[self._scene])
            except CameraError as error:
                log.warning("%s; it is left out", error)
                self._scene += 1
                self._number += self._frames_each
        if self._image is None:
            return None
        at = self._number / STILL_RATE
        frame = Frame(self._image, self._number, at, at, self._scene)
        self._number += 1
        return frame

    def describe(self) -> str:
        return self._description

    def kill(self) -> None:
        """A file does not block."""

    def close(self) -> None:
        self._image = None


def list_pictures(path: Path) -> list[Path]:
    """A picture, or a folder's pictures by name.

    Raises:
        CameraError: the folder holds none, or may not be read.
    """
    if not os.path.isdir(path):  # noqa: PTH112
        return [path]
    try:
        found = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in PICTURES and not entry.name.startswith("."))
    except OSError as error:
        raise CameraError(f"{path}: the folder cannot be read ({error.strerror})") from None
    if not found:
        raise CameraError(f"{path}: no pictures in this folder; it should hold {', '.join(PICTURES)} files")
    return found


def _load(path: Path) -> NDArray[np.uint8]:
    try:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    except cv2.error:
        # It looks at the size before it decodes; its limit is set in `edge.__init__`.
        raise CameraError(f"{path}: a picture of more than {MOST_PIXELS / 1e6:.0f} million pixels; save it smaller") from None
    if image is None:
        raise CameraError(f"{path}: a damaged picture; remove it or save it again")
    return to_bgr(image)
