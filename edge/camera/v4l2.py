"""A V4L2 camera: USB, or whatever else Linux shows as /dev/video*."""

from __future__ import annotations

import os
from pathlib import Path

import cv2

from edge.camera.live import LiveVideo
from edge.config import CameraSettings
from edge.errors import CameraError

# Above it, raw YUYV (2 bytes a pixel) at usual rates is more than USB 2.0 carries (about 35 MB/s), so JPEG is asked for.
RAW_WIDTH = 640


def open_device(settings: CameraSettings) -> LiveVideo:
    """Open a camera by its index or /dev path and ask it for a size and a rate; it gives what it has.

    Raises:
        CameraError: it is not there, may not be opened, is busy, or gives no frames.
    """
    path = Path(f"/dev/video{settings.source}" if settings.source.isdecimal() else settings.source)
    if not path.exists():
        # Names by id first: they stay the same when cameras change places.
        found = sorted(Path("/dev/v4l/by-id").glob("*")) or sorted(Path("/dev").glob("video*"))
        known = ", ".join(map(str, found)) or "none"
        raise CameraError(f"{path}: no such camera (found: {known}); connect one, or name a file or `demo` as camera.source")
    if not os.access(path, os.R_OK | os.W_OK):
        raise CameraError(f"{path}: no permission to use this camera; add the user to the group `video` and log in again")
    capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_V4L2)
    if not capture.isOpened():
        capture.release()
        raise CameraError(f"{path}: not a camera that gives pictures, or another program holds it")
    if settings.width > RAW_WIDTH:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, settings.width)
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.height)
    capture.set(cv2.CAP_PROP_FPS, settings.fps)
    # One is filled while the other is read; with a single one every second frame is lost (LibreScanner/horus, issue 60), and
    # more would only add age.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 2)
    return LiveVideo(capture, f"camera {path}", (settings.width, settings.height, settings.fps))
