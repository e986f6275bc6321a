"""The ribbon camera of a Jetson, through NVIDIA's own GStreamer source (Argus)."""

from __future__ import annotations

import shutil
from fractions import Fraction

from edge.camera.child import PICTURES, ChildVideo, Raw
from edge.config import CameraSettings
from edge.errors import CameraError

PROGRAM = "gst-launch-1.0"


def open_csi(settings: CameraSettings, number: int) -> ChildVideo:
    """Open a Jetson's ribbon camera.

    Args:
        settings: size and rate that are asked of it. The sensor's mode is the smallest that holds the size, whatever its
            proportions, and is scaled to it; most modes are 16:9, so ask for that (1280x720), or faces are squeezed.
        number: its sensor id.

    Raises:
        CameraError: GStreamer is not installed, or the camera gives no pictures.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise CameraError(
            f"{PROGRAM} is not installed, which reads a Jetson's ribbon camera; install gstreamer1.0-tools or name another "
            "camera.source"
        )
    raw = Raw(settings.width, settings.height, "bgrx")
    return ChildVideo([program, *pipeline(settings, number)], raw, f"csi camera {number}", settings.fps)


def pipeline(settings: CameraSettings, number: int) -> list[str]:
    """The arguments of gst-launch-1.0."""
    rate = Fraction(settings.fps).limit_denominator(1001)
    size = f"width={settings.width},height={settings.height}"
    # BGRx is what nvvidconv has nearest to BGR, and its rows are never padded. Pictures go to a descriptor of their own,
    # because nvarguscamerasrc prints to standard output. Without sync they leave as they come; of a queue, the newest.
    return [
        "--quiet",
        *("nvarguscamerasrc", f"sensor-id={number}", "!"),
        *(f"video/x-raw(memory:NVMM),{size},format=NV12,framerate={rate.numerator}/{rate.denominator}", "!"),
        *("nvvidconv", "!", f"video/x-raw,{size},format=BGRx", "!"),
        *("queue", "max-size-buffers=1", "leaky=downstream", "!"),
        *("fdsink", f"fd={PICTURES}", "sync=false"),
    ]
