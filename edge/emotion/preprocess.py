"""Native crop -> what the network sees. The one preprocessing of this project; converters measure through it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.emotion.manifest import InputSpec
from edge.types import Crop

INTERPOLATION = {
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "linear_exact": cv2.INTER_LINEAR_EXACT,
    "cubic": cv2.INTER_CUBIC,
}


def to_pixels(crop: Crop | NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """Colour and size, still in pixels.

    Args:
        crop: uint8 (S, S, 3) BGR, or (S, S) gray.
        spec: the manifest's input.

    Returns:
        uint8 (height, width, channels).
    """
    size = (spec.width, spec.height)
    # A colour conversion costs by the pixel, so it comes after a shrinking resize and before a growing one.
    if crop.shape[0] < spec.height:
        image = cv2.resize(_recolor(crop, spec), size, interpolation=INTERPOLATION[spec.resize])
    else:
        resized = crop if crop.shape[:2] == size[::-1] else cv2.resize(crop, size, interpolation=INTERPOLATION[spec.resize])
        image = _recolor(resized.astype(np.uint8, copy=False), spec)
    return image.reshape(spec.height, spec.width, spec.channels).astype(np.uint8, copy=False)


def to_tensor(pixels: NDArray[np.uint8] | NDArray[np.float32], spec: InputSpec) -> NDArray[np.float32]:
    """Pixels in 0..255 (..., channels) -> float32 of the same shape: (pixel - mean) * scale."""
    mean, scale = np.asarray(spec.mean, np.float32), np.asarray(spec.scale, np.float32)
    return (pixels.astype(np.float32) - mean) * scale


def pixel_table(spec: InputSpec) -> NDArray[np.float32]:
    """What `to_tensor` makes of every pixel value: float32 (256, channels). Looking up is many times faster than computing."""
    return to_tensor(np.repeat(np.arange(256, dtype=np.uint8)[:, None], spec.channels, axis=1), spec)


def look_up(pixels: NDArray[np.uint8], table: NDArray[Any]) -> NDArray[Any]:
    """Pixels (height, width, channels) -> their values in a table (256, channels), of the table's dtype."""
    return np.asarray(cv2.LUT(pixels, table[None])).reshape(pixels.shape)


def to_batch(tensor: NDArray[Any], spec: InputSpec) -> NDArray[Any]:
    """One picture (height, width, channels) -> the batch of one that the network takes, of `spec.shape`."""
    return np.ascontiguousarray(tensor.transpose(2, 0, 1) if spec.layout == "NCHW" else tensor)[None]


def _recolor(image: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    gray = image.ndim == 2
    match spec.color:
        case "gray":
            converted = image if gray else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        case "rgb":
            converted = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if gray else cv2.COLOR_BGR2RGB)
        case "bgr":
            converted = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if gray else image
    return np.asarray(converted, np.uint8)
