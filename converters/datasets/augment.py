"""Random views of faces: first the chances are drawn for a whole epoch, then pixels are made from them.

Numpy and OpenCV do both, so that a seed gives the same pixels on every backend (for one build of OpenCV), and a view of
a picture depends on the seed, the epoch and the picture's place alone, not on the batch it lands in. A bank of a
teacher's answers rests on that.

A camera's crops differ from a data set's: the detector's box jitters, heads roll. Shift, zoom and rotation here are at
least as large as what the detectors do to FER2013's own faces (spread 3.5 of 48 pixels). What the camera itself does
to the pixels is in faults.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import cv2
import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(ge=0)]


class Augment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a view may stray from its picture.

    Attributes:
        flip: chance of mirroring left and right.
        rotate: largest rotation, degrees.
        shift: largest shift, as a fraction of the side.
        zoom: largest change of size, as a fraction.
        contrast: largest change of contrast, as a fraction.
        brightness: largest change of brightness, in pixel values.
        erase: chance that a rectangle of 3 to 15 % of the view is painted over (Zhong et al. 2017, arXiv:1708.04896).
        faults: chance of each camera fault of faults.py.
        overexposed: chance of an exposure of up to 2.4 times the right one, which no camera takes back (faults.py).
        mixup: Beta(a, a) parameter of mixup (Zhang et al. 2018, arXiv:1710.09412) on half of the batches; 0 is off.
        cutmix: chance that a batch gets rectangles of other pictures (Yun et al. 2019, arXiv:1905.04899) instead.
    """

    flip: Share = 0.5
    rotate: Positive = 12.0
    shift: Share = 4 / 48
    zoom: Annotated[float, Meta(ge=0, lt=1)] = 0.12
    contrast: Positive = 0.25
    brightness: Positive = 20.0
    erase: Share = 0.0
    faults: Share = 0.0
    overexposed: Share = 0.0
    mixup: Positive = 0.0
    cutmix: Share = 0.0


@dataclass(frozen=True, slots=True)
class Views:
    """The chances of one view of each of N pictures.

    Attributes:
        matrix: float64 (N, 2, 3), view -> picture, pixels; with the mirror in its sign.
        gain: float32 (N,), contrast about the view's mean.
        offset: float32 (N,), pixel values.
        box: int64 (N, 4), x, y, width, height of the erased rectangle; no width for none.
        paint: float32 (N,), what it is painted with.
    """

    matrix: NDArray[np.float64]
    gain: NDArray[np.float32]
    offset: NDArray[np.float32]
    box: NDArray[np.int64]
    paint: NDArray[np.float32]


def draw_views(count: int, size: tuple[int, int], settings: Augment, rng: np.random.Generator) -> Views:
    """Draw one view of each picture.

    Args:
        count: N.
        size: height and width, pixels.
        settings: how far views may stray.
        rng: the only source of chance; the same state gives the same bits.
    """
    height, width = size
    angle = np.deg2rad(rng.uniform(-settings.rotate, settings.rotate, count))
    scale = 1 + rng.uniform(-settings.zoom, settings.zoom, count)
    mirror = np.where(rng.random(count) < settings.flip, -1.0, 1.0)
    shift = rng.uniform(-settings.shift, settings.shift, (count, 2)) * (width, height)
    gain = 1 + rng.uniform(-settings.contrast, settings.contrast, count)
    offset = rng.uniform(-settings.brightness, settings.brightness, count)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.stack([mirror * cos, -sin, mirror * sin, cos], axis=1).reshape(count, 2, 2)
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.concatenate([turn, (centre - turn @ centre + shift)[..., None]], axis=2)
    area, aspect = rng.uniform(0.03, 0.15, count) * height * width, np.exp(rng.uniform(np.log(0.4), np.log(2.5), count))
    sides = np.minimum(np.sqrt(np.stack([area * aspect, area / aspect], axis=1)), (width, height)).astype(np.int64)
    sides[rng.random(count) >= settings.erase] = 0
    corner = (rng.random((count, 2)) * ((width, height) - sides + 1)).astype(np.int64)
    paint = rng.uniform(0, 255, count)
    return Views(
        matrix,
        gain.astype(np.float32),
        offset.astype(np.float32),
        np.concatenate([corner, sides], axis=1),
        paint.astype(np.float32),
    )


def make_views(images: NDArray[np.uint8], rows: NDArray[np.int64], views: Views) -> NDArray[np.float32]:
    """Make the views of some pictures.

    Args:
        images: uint8 (N, H, W), all of them.
        rows: int64 (M,), which ones.
        views: the chances of all N.

    Returns:
        float32 (M, H, W) in 0..255.
    """
    height, width = images.shape[1:]
    made = np.empty((len(rows), height, width), np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for view, row in zip(made, rows, strict=True):
        view[:] = cv2.warpAffine(images[row], views.matrix[row], (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    middle = made.mean(axis=(1, 2), keepdims=True)
    made -= middle
    made *= views.gain[rows, None, None]
    made += middle + views.offset[rows, None, None]
    for view, (x, y, w, h), paint in zip(made, views.box[rows], views.paint[rows], strict=True):
        view[y : y + h, x : x + w] = paint
    return np.clip(made, 0, 255, out=made)
