"""What is left of a network's accuracy when the crop, the lens, the light or the stream is not the data set's."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.uint8]


def perturbations() -> dict[str, Callable[[Pictures, np.random.Generator], Pictures]]:
    """The perturbations by name, in the order of the table: uint8 (N, H, W) -> uint8 (N, H, W), with chance from a generator.

    A picture has nothing around it, so what a zoom or a shift lets in repeats its border.
    """
    return {
        "zoom 0.8": lambda pictures, _: _warp(pictures, scale=0.8),
        "zoom 1.2": lambda pictures, _: _warp(pictures, scale=1.2),
        "shift 10 %": lambda pictures, rng: _warp(pictures, shift=_directions(len(pictures), rng) * 0.1),
        "rotation 15 degrees": lambda pictures, rng: _warp(pictures, angle=15 * rng.choice([-1.0, 1.0], len(pictures))),
        "blur, sigma 1 pixel of 48": lambda pictures, _: _each(pictures, _blur),
        "noise, sigma 12": lambda pictures, rng: _clip(pictures + rng.normal(0, 12, pictures.shape)),
        "JPEG 20": lambda pictures, _: _each(pictures, _jpeg),
        "half brightness": lambda pictures, _: _clip(pictures * 0.5),
        "double brightness": lambda pictures, _: _clip(pictures * 2.0),
        "24x24 and back": lambda pictures, _: _each(pictures, _few_pixels),
    }


def _directions(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Left, right, up or down for each picture."""
    return np.array([(-1, 0), (1, 0), (0, -1), (0, 1)], np.float64)[rng.integers(0, 4, count)]


def _warp(
    pictures: Pictures, scale: float = 1.0, angle: NDArray[np.float64] | None = None, shift: NDArray[np.float64] | None = None
) -> Pictures:
    height, width = pictures.shape[1:]
    made = np.empty_like(pictures)
    for i, picture in enumerate(pictures):
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 0.0 if angle is None else angle[i], scale)
        if shift is not None:
            matrix[:, 2] += shift[i] * (width, height)
        made[i] = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return made


def _each(pictures: Pictures, change: Callable[[Pictures], Pictures]) -> Pictures:
    return np.stack([change(picture) for picture in pictures])


def _clip(values: NDArray[np.float64]) -> Pictures:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _blur(picture: Pictures) -> Pictures:
    sigma = picture.shape[0] / 48
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)


def _jpeg(picture: Pictures) -> Pictures:
    done, packed = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 20])
    assert done
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), np.uint8)


def _few_pixels(picture: Pictures) -> Pictures:
    small = cv2.resize(picture, (24, 24), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, picture.shape[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
