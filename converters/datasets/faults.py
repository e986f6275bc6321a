"""What cameras and streams do to a face: few pixels, blur, noise, JPEG, bad light.

A student learns from a teacher that saw the view without them, so it is taught what the face shows and not what the
fault leaves of it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def overexpose(views: NDArray[np.float32], chance: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Let too much light into some views: 1.3 to 2.4 times, and what is beyond white is lost.

    A fault of its own, because no other destroys as much: twice the light takes half of the pixels of FER2013 to white.

    Args:
        views: float32 (N, H, W) in 0..255; not changed.
        chance: of each view.
        rng: the only source of chance.

    Returns:
        float32 (N, H, W) in 0..255.
    """
    if chance <= 0:
        return views
    exposure = np.exp(rng.uniform(np.log(1.3), np.log(2.4), len(views)))
    exposure[rng.random(len(views)) >= chance] = 1.0
    return np.minimum(views * exposure.astype(np.float32)[:, None, None], np.float32(255))


def add_faults(views: NDArray[np.float32], chance: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Give each view each fault by chance, in the order in which a camera meets them.

    Args:
        views: float32 (N, H, W) in 0..255; not changed.
        chance: of each of the five faults, for each view.
        rng: the only source of chance.

    Returns:
        float32 (N, H, W) in 0..255.
    """
    if chance <= 0:
        return views
    struck = rng.random((len(views), 5)) < chance
    faulty = views.copy()
    for index in np.flatnonzero(struck.any(axis=1)):
        view = faulty[index]
        for hit, fault in zip(struck[index], (_light, _blur, _few_pixels, _noise, _jpeg), strict=True):
            if hit:
                view = np.clip(fault(view, rng), 0, 255)
        faulty[index] = view
    return faulty


def _light(view: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Exposure from half to double, a gamma, and a lamp on one side."""
    exposure, gamma = np.exp(rng.uniform(-np.log(2.2), np.log(2.2))), np.exp(rng.uniform(-0.4, 0.4))
    angle, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.6)
    rows, columns = np.mgrid[: view.shape[0], : view.shape[1]].astype(np.float32) / max(view.shape) - 0.5
    lamp = 1 + depth * (columns * np.cos(angle) + rows * np.sin(angle))
    return (255 * (view / 255) ** gamma * exposure * lamp).astype(np.float32)


def _blur(view: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Out of focus, or moved in one direction; up to about three pixels."""
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(view, (0, 0), rng.uniform(0.4, 1.6)), np.float32)
    length, angle = rng.uniform(1.5, 5.0), rng.uniform(0, np.pi)
    reach = np.mgrid[-3:4, -3:4].astype(np.float32)
    along, across = reach[1] * np.cos(angle) + reach[0] * np.sin(angle), reach[0] * np.cos(angle) - reach[1] * np.sin(angle)
    kernel = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, 1)
    return np.asarray(cv2.filter2D(view, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE), np.float32)


def _few_pixels(view: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A face that was small in the frame: down to between a third and four fifths of the side, and back."""
    height, width = view.shape
    share = rng.uniform(0.35, 0.8)
    small = cv2.resize(view, (max(1, round(width * share)), max(1, round(height * share))), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _noise(view: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Sensor noise, sigma 2 to 16 pixel values."""
    return view + rng.normal(0, rng.uniform(2, 16), view.shape).astype(np.float32)


def _jpeg(view: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """JPEG of quality 15 to 70."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 71))]
    done, packed = cv2.imencode(".jpg", np.rint(view).astype(np.uint8), quality)
    assert done
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), np.float32)
