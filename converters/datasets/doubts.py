"""Signs that pictures are not what a camera gives: blurred, rescaled, or with red and blue swapped.

Every limit stands where clean faces never come: FER2013, its resized and recompressed versions, and faces cut out of
video and photographs were on one side of it, the fault on the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.datasets.types import Split

# Looked at per part; the statistics below are medians and do not move with more.
SAMPLE = 300
# Sharpness is compared at a size at which any face picture has all its frequencies.
SIDE = 64
# Median of `sharpness`: FER2013 0.149 (no five of its pictures under 0.05), enlarged fourfold and shrunk again 0.068,
# faces of a video 0.037 to 0.069; with a Gaussian blur of 1 pixel 0.007, of 1.5 pixels 0.0005.
BLURRED = 0.01
# Between the two parts of one data set: 30 pictures of FER2013 give 0.11 to 0.21, a blur of 0.7 pixel 0.031.
SPREAD = 4.0
SPREAD_SAMPLE = 30
# 0.1 % and 99.9 % of all pixels: FER2013 has 0 and 255. Values of [0, 1] taken for [-1, 1] begin at 127.
DARKEST, BRIGHTEST = 110.0, 64.0
# Values of [-1, 1] taken for [0, 1] are clipped: nearly half of the pixels are black. FER2013: 0.6 %.
CLIPPED = 0.35
# Skin of any tone reflects more red than blue; the middle of a face is mostly skin.
SWAPPED_SHARE, SWAPPED_BY = 0.8, 3.0


def doubts(train: Split, held_out: Split, names: tuple[str, str], seed: int) -> list[str]:
    """Look at a sample of both parts.

    Args:
        train, held_out: the part to calibrate with and the part to measure on.
        names: what to call them.
        seed: chooses the sample.

    Returns:
        One sentence per doubt; none for clean pictures of faces.
    """
    found = []
    medians = []
    for split, name in zip((train, held_out), names, strict=True):
        images = _sample(split, seed)
        if not images:
            continue
        medians.append((float(np.median([sharpness(image) for image in images])), len(images)))
        if medians[-1][0] < BLURRED:
            found.append(f"{name}: the pictures are blurred or were enlarged; a camera's faces are sharper")
        found += [f"{name}: {doubt}" for doubt in (*_exposure(images), *_colour(images))]
    if len(medians) == 2 and min(count for _, count in medians) >= SPREAD_SAMPLE and not found:
        (one, _), (other, _) = medians
        if max(one, other) > SPREAD * min(one, other):
            blurred = names[0] if one < other else names[1]
            found.append(f"{blurred}: far less sharp than {names[1] if one < other else names[0]}; one of the two was blurred")
    return found


def sharpness(image: NDArray[np.uint8]) -> float:
    """Energy of the upper octave of spatial frequencies over that of the two octaves below.

    Photographs hold about the same energy in every octave at any size (Field 1987, JOSA A 4:2379); blur takes the upper.

    Args:
        image: uint8 (H, W) or (H, W, 3) BGR; shrunk to 64 pixels when larger.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
    if max(gray.shape) > SIDE:
        size = (min(SIDE, gray.shape[1]), min(SIDE, gray.shape[0]))
        gray = np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), np.uint8)
    window = np.hanning(gray.shape[0] + 2)[1:-1, None] * np.hanning(gray.shape[1] + 2)[None, 1:-1]
    power = np.abs(np.fft.fft2((gray - gray.mean()) * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(gray.shape[0])[:, None], np.fft.fftfreq(gray.shape[1])[None])
    upper = power[(frequency >= 1 / 4) & (frequency <= 1 / 2)].sum()
    lower = power[(frequency >= 1 / 16) & (frequency < 1 / 4)].sum()
    # A picture of one colour has neither; it says nothing about sharpness.
    return float(upper / lower) if lower > 1 else 1.0


def _sample(split: Split, seed: int) -> list[NDArray[np.uint8]]:
    rows = np.random.default_rng(seed).permutation(len(split))[:SAMPLE]
    return [split.images[row] for row in rows]


def _exposure(images: Sequence[NDArray[np.uint8]]) -> list[str]:
    counts = sum((np.bincount(image.ravel(), minlength=256) for image in images), np.zeros(256, np.int64))
    shares = np.cumsum(counts) / counts.sum()
    darkest, brightest = np.searchsorted(shares, 0.001), np.searchsorted(shares, 0.999)
    if brightest <= 1:
        return ["all pixels are 0 or 1; they were scaled to 0..1 already, give pictures in 0..255"]
    if brightest <= BRIGHTEST:
        return [f"no pixel is brighter than {brightest} of 255; were they scaled already?"]
    if darkest >= DARKEST:
        return [f"no pixel is darker than {darkest} of 255; were values of 0..1 taken for -1..1?"]
    extreme = max(counts[0], counts[255]) / counts.sum()
    if extreme > CLIPPED:
        return [f"{extreme:.0%} of the pixels are clipped to black or white; were values of -1..1 taken for 0..1?"]
    return []


def _colour(images: Sequence[NDArray[np.uint8]]) -> list[str]:
    middles = [image[_middle(image.shape[0]), _middle(image.shape[1])] for image in images if image.ndim == 3]
    if not middles:
        return []
    redder = np.array([float(middle[..., 2].mean()) - float(middle[..., 0].mean()) for middle in middles])
    if (redder < 0).mean() > SWAPPED_SHARE and np.median(redder) < -SWAPPED_BY:
        return ["faces are bluer than they are red; red and blue (RGB and BGR) are swapped in the files"]
    return []


def _middle(length: int) -> slice:
    return slice(length // 4, max(length // 4 + 1, length - length // 4))
