"""Which pictures the ranges of an INT8 network come from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.select import appearance_strata, stratified
from calibration.synthetic import pink_noise
from converters.datasets import Split
from edge.emotion.manifest import InputSpec
from edge.emotion.preprocess import to_pixels

# 20 or 2,000 pictures differ little in what they give; their domain matters.
SAMPLES = 256
# Looked at for brightness and contrast where nothing is labelled.
POOL = 5_000


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was calibrated with.

    Attributes:
        pixels: uint8 (N, height, width, channels).
        synthetic: whether they were made up.
    """

    pixels: NDArray[np.uint8]
    synthetic: bool


def choose(split: Split | None, spec: InputSpec, count: int, seed: int) -> Calibration:
    """Choose and prepare pictures: of every class where they are labelled, of every light where not, noise without any.

    Args:
        split: the part to calibrate with, or None.
        spec: the network's input.
        count: how many.
        seed: decides which.
    """
    if split is None:
        return Calibration(pink_noise(count, (spec.height, spec.width, spec.channels), seed), synthetic=True)
    if split.labels is not None:
        return Calibration(prepare(split, stratified(split.labels, count, seed), spec), synthetic=False)
    pool = np.sort(np.random.default_rng(seed).permutation(len(split))[:POOL])
    pixels = prepare(split, pool, spec)
    return Calibration(pixels[stratified(appearance_strata(pixels), count, seed)], synthetic=False)


def prepare(split: Split, rows: NDArray[np.int64], spec: InputSpec) -> NDArray[np.uint8]:
    """Rows of a split as the network's pixels: uint8 (N, height, width, channels)."""
    if not len(rows):
        return np.empty((0, spec.height, spec.width, spec.channels), np.uint8)
    return np.stack([to_pixels(split.images[int(row)], spec) for row in rows])
