"""The ribbon camera of a Raspberry Pi, through rpicam-vid."""

from __future__ import annotations

import re
import shutil

from edge.camera.child import ChildVideo, Raw
from edge.config import CameraSettings
from edge.errors import CameraError

# The older name is that of Raspberry Pi OS bullseye and early bookworm.
PROGRAMS = ("rpicam-vid", "libcamera-vid")
# rpicam-vid writes the camera's buffers as they are, and the rows of those are padded: to 64 bytes on the Pi 4 and older
# (github.com/raspberrypi/rpicam-apps/issues/151 and 188), and on the Pi 5 to 128, twice the 64 of a row of colour (libpisp,
# compute_optimal_stride). At a width that is a multiple of 128 there is no padding on any of them.
ROW = 128
# libcamera tells what it has made of the size, such as `configuring streams: (0) 640x480-YUV420`.
CONFIGURED = re.compile(r"configuring streams: \(0\) (\d+)x(\d+)-YUV420")


def open_pi(settings: CameraSettings, number: int) -> ChildVideo:
    """Open a Raspberry Pi's ribbon camera.

    Args:
        settings: size and rate that are asked of it; the width is rounded up to a multiple of 128, the height to an even one.
        number: which camera, as `rpicam-hello --list-cameras` counts them.

    Raises:
        CameraError: rpicam-apps are not installed, or the camera gives no pictures, or of another size.
    """
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise CameraError(
            "rpicam-vid is not installed, which reads a Raspberry Pi's ribbon camera; install rpicam-apps-lite or name another "
            "camera.source"
        )
    width, height = -(-settings.width // ROW) * ROW, -(-settings.height // 2) * 2

    def fits(words: str) -> str | None:
        told = CONFIGURED.search(words)
        if told is None or (int(told[1]), int(told[2])) == (width, height):
            return None
        return (
            f"pi camera {number} gives {told[1]}x{told[2]} when asked for {width}x{height}; set camera.width and camera.height "
            "to a size that it has"
        )

    arguments = command(settings, number, width, height)
    return ChildVideo([program, *arguments], Raw(width, height, "i420"), f"pi camera {number}", settings.fps, fits)


def command(settings: CameraSettings, number: int, width: int, height: int) -> list[str]:
    """The arguments of rpicam-vid."""
    # Without --flush the end of each picture waits in a buffer for the next one. yuv420 is BT.601 in full range.
    return [
        *("--codec", "yuv420", "--output", "-", "--flush", "--timeout", "0", "--nopreview"),
        *("--camera", str(number), "--width", str(width), "--height", str(height), "--framerate", f"{settings.fps:g}"),
    ]
