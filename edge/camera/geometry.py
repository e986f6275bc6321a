"""Pictures as the rest of the program knows them: BGR, eight bits, contiguous, upright."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import CameraError

# 8192 x 8192, the largest size that can be asked of a camera: 200 MB decoded, which a board of 1 GB survives twice.
MOST_PIXELS = 67_108_864
# OpenCV cuts nothing out of a picture with a longer side (warpAffine: SHRT_MAX).
LONGEST_SIDE = 32_766

_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
_MIRRORS = {"horizontal": 1, "vertical": 0}


def to_bgr(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Whatever a driver or decoder gives -> uint8 (H, W, 3), BGR, contiguous; the same object when it is that already.

    Args:
        image: uint8 or uint16; (H, W) or (H, W, 1) grey, (H, W, 3) BGR or (H, W, 4) BGRA.

    Raises:
        CameraError: it is none of these.
    """
    if image.dtype == np.uint16:
        # Infrared and machine cameras fill the upper bits first (V4L2: Y16; PNG alike).
        image = (image >> 8).astype(np.uint8)
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or channels not in (1, 3, 4) or image.size == 0:
        raise CameraError(
            f"pictures of {'x'.join(map(str, image.shape))} {image.dtype} are not known; let the camera give grey, BGR or BGRA"
        )
    if channels == 3:
        return np.ascontiguousarray(image, np.uint8)
    code = cv2.COLOR_GRAY2BGR if channels == 1 else cv2.COLOR_BGRA2BGR
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), code), np.uint8)


def upright(image: NDArray[np.uint8], rotate: int, flip: str) -> NDArray[np.uint8]:
    """Turn a picture clockwise by 0, 90, 180 or 270 degrees, then mirror it; the same object when there is nothing to do.

    Args:
        image: uint8 (H, W, 3).
        rotate: degrees, as `camera.rotate`.
        flip: `none`, `horizontal` (left and right change places) or `vertical`, as `camera.flip`.
    """
    if rotate in _TURNS:
        image = np.asarray(cv2.rotate(image, _TURNS[rotate]), np.uint8)
    if flip in _MIRRORS:
        image = np.asarray(cv2.flip(image, _MIRRORS[flip]), np.uint8)
    return image


def refuse_giants(name: str, width: float, height: float) -> None:
    """Stop before a picture is decoded that would take the board's memory, or that no face can be cut from.

    Raises:
        CameraError: it has more than MOST_PIXELS pixels, or a side of more than LONGEST_SIDE.
    """
    if max(width, height) > LONGEST_SIDE:
        raise CameraError(
            f"{name}: pictures of {width:.0f}x{height:.0f} have a side of more than {LONGEST_SIDE} pixels; make them smaller"
        )
    if width * height > MOST_PIXELS:
        raise CameraError(
            f"{name}: pictures of {width:.0f}x{height:.0f} are more than the {MOST_PIXELS / 1e6:.0f} million pixels that "
            "are read; make them smaller, faces need no more"
        )
