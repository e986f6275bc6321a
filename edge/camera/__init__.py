"""Frames from a camera, a stream, files or the demo, all behind one small protocol.

A live source stamps its frames with the clocks and may lose some; a replay (file, folder, picture, demo) is lossless
and its time is the presentation time, so that the same file gives the same events on every machine.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from edge.config import CameraSettings
from edge.errors import CameraError
from edge.types import Frame

__all__ = ["Camera", "Frame", "is_live", "open_camera"]

DEMO = "demo"
SCHEMES = ("rtsp", "rtsps", "http", "https")
PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


class Camera(Protocol):
    """An open source of frames, read by one thread."""

    @property
    def live(self) -> bool:
        """Whether frames go by while nobody reads them."""

    def read(self) -> Frame | None:
        """The next frame; None is the end of a replay.

        Raises:
            CameraError: a live source has stopped giving frames; close it and open it again.
        """

    def kill(self) -> None:
        """From another thread: make a `read` that blocks return soon, where that can be done; give nothing back yet."""

    def describe(self) -> str:
        """One line for people: what it is, with the size and rate that it really has."""

    def close(self) -> None:
        """Give the source back; `read` must not be running."""


def open_camera(settings: CameraSettings) -> Camera:
    """Open a source and prove that it gives a frame.

    Args:
        settings: `source` is a V4L2 index or /dev path, `csi` or `pi` (`csi:1` is the second one), an rtsp or http url, a
            video file, a folder of pictures, a picture, or `demo`.

    Raises:
        CameraError: one sentence on what is missing or not what its name says.
    """
    source = settings.source
    if source == DEMO:
        from edge.camera.demo import Demo

        return Demo()
    if is_stream(source):
        from edge.camera.stream import open_stream

        return open_stream(source, settings.stall)
    if is_ribbon(source):
        return _open_ribbon(settings)
    if "://" in source:
        # Not repeated in full: the rest of a url may hold a password.
        raise CameraError(f"{source.split('://')[0]}:// is not known; streams are {', '.join(SCHEMES)}")
    if is_device(source):
        from edge.camera.v4l2 import open_device

        return open_device(settings)
    from edge.camera.replay import Pictures, VideoFile, list_pictures

    path = Path(source).expanduser()
    # Not Path.is_dir: a folder that may not be looked into raises there.
    if os.path.isdir(path) or path.suffix.lower() in PICTURES:  # noqa: PTH112
        return Pictures(list_pictures(path), settings.still)
    return VideoFile(path)


def _open_ribbon(settings: CameraSettings) -> Camera:
    kind, _, number = settings.source.partition(":")
    if number and not number.isdecimal():
        raise CameraError(f"camera.source {settings.source}: after the colon stands which camera it is, such as {kind}:1")
    if kind == "csi":
        from edge.camera.csi import open_csi

        return open_csi(settings, int(number or 0))
    from edge.camera.pi import open_pi

    return open_pi(settings, int(number or 0))


def is_live(source: str) -> bool:
    """Whether a source's frames go by unread; known without opening it, so that a missing camera can be waited for."""
    return is_stream(source) or is_device(source) or is_ribbon(source)


def is_stream(source: str) -> bool:
    return source.lower().startswith(tuple(f"{scheme}://" for scheme in SCHEMES))


def is_device(source: str) -> bool:
    return source.isdecimal() or source.startswith("/dev/")


def is_ribbon(source: str) -> bool:
    return source.partition(":")[0] in ("csi", "pi")
