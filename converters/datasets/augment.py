"""Random views of faces, made with numpy and OpenCV so that a seed gives the same pixels on every backend.

A camera's crops differ from a data set's: the detector's box jitters, heads roll, light is poor. Shift, zoom and
rotation here are about as large as what the detectors do to FER2013's own faces (spread 3.5 of 48 pixels).
"""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray


class Augment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How far a view may stray from its picture.

    Attributes:
        flip: chance of mirroring left and right.
        rotate: largest rotation, degrees.
        shift: largest shift, as a fraction of the side.
        zoom: largest change of size, as a fraction.
        contrast: largest change of contrast, as a fraction.
        brightness: largest change of brightness, in pixel values.
        mixup: Beta(a, a) parameter of mixup (Zhang et al. 2018, arXiv:1710.09412) on half of the batches; 0 is off.
    """

    flip: float = 0.5
    rotate: float = 12.0
    shift: float = 4 / 48
    zoom: float = 0.12
    contrast: float = 0.25
    brightness: float = 20.0
    mixup: float = 0.0


def augment_batch(images: NDArray[np.uint8], settings: Augment, rng: np.random.Generator) -> NDArray[np.float32]:
    """One random view of each picture.

    Args:
        images: uint8 (N, H, W).
        settings: how far views may stray.
        rng: the only source of chance; the same state gives the same bits.

    Returns:
        float32 (N, H, W) in 0..255.
    """
    count, (height, width) = len(images), images.shape[1:]
    angle = np.deg2rad(rng.uniform(-settings.rotate, settings.rotate, count))
    scale = 1 + rng.uniform(-settings.zoom, settings.zoom, count)
    mirror = np.where(rng.random(count) < settings.flip, -1.0, 1.0)
    shift = rng.uniform(-settings.shift, settings.shift, (count, 2)) * (width, height)
    gain = 1 + rng.uniform(-settings.contrast, settings.contrast, count)
    offset = rng.uniform(-settings.brightness, settings.brightness, count)
    centre = ((width - 1) / 2, (height - 1) / 2)
    views = np.empty((count, height, width), np.float32)
    for i, image in enumerate(images):
        cos, sin = scale[i] * np.cos(angle[i]), scale[i] * np.sin(angle[i])
        # Destination -> source, about the centre; the mirror is one sign of the matrix.
        matrix = np.array([[mirror[i] * cos, -sin, 0.0], [mirror[i] * sin, cos, 0.0]])
        matrix[:, 2] = centre - matrix[:, :2] @ centre + shift[i]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        views[i] = cv2.warpAffine(image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    middle = views.mean(axis=(1, 2), keepdims=True)
    views = (views - middle) * gain[:, None, None].astype(np.float32) + middle + offset[:, None, None].astype(np.float32)
    return np.clip(views, 0, 255, out=views)


def mix(
    views: NDArray[np.float32], targets: NDArray[np.float32], alpha: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mixup of a batch with a shuffled copy of itself, on every second batch by chance."""
    if alpha <= 0 or rng.random() < 0.5:
        return views, targets
    share = np.float32(rng.beta(alpha, alpha))
    order = rng.permutation(len(views))
    return share * views + (1 - share) * views[order], share * targets + (1 - share) * targets[order]
