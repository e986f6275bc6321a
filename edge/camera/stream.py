"""An rtsp or http camera, by the FFmpeg inside OpenCV."""

from __future__ import annotations

from urllib.parse import urlsplit

import cv2

from edge.camera.live import LiveVideo
from edge.errors import CameraError

# Without timeouts FFmpeg waits for ever on a camera that has gone silent. Opening takes the camera's login, its description
# and its next whole picture.
OPEN_TIMEOUT_MS = 5000


def open_stream(url: str, stall: float) -> LiveVideo:
    """Open a network camera. One that changes its size later is scaled to the first one by FFmpeg.

    Args:
        url: rtsp or http.
        stall: seconds without a frame after which somebody would have to end the read; it ends itself a little earlier.

    Raises:
        CameraError: nobody answers, or what answers is no video.
    """
    name = f"stream {without_secrets(url)}"
    read_timeout = round(800 * stall)
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, read_timeout]
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, timeouts)
    if not capture.isOpened():
        capture.release()
        raise CameraError(f"{name} cannot be opened; check address, user and password, and that it is a video stream")
    return LiveVideo(capture, name)


def without_secrets(url: str) -> str:
    """A url as logs and alarms may show it: scheme, host and port. Paths and queries hold passwords and tokens too.

    Raises:
        CameraError: it is no url.
    """
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise CameraError("camera.source is a url that cannot be read; percent-encode what is odd in its password") from None
    # An "@" further on: an unencoded "/", "?" or "#" in the password has cut the host short.
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":
        return f"{parts.scheme}://…"
    return f"{parts.scheme}://{parts.hostname}{port}/…"
