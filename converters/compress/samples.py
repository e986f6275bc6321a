"""Which pictures the ranges of an INT8 network come from: real ones, or the best that can be made up without any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from calibration.choose import Method
from calibration.select import appearance_strata, stratified
from calibration.synthetic import pink_noise
from converters.compress.dream import dream, remembers
from converters.datasets import Split
from converters.progress import Progress
from edge.emotion.manifest import InputSpec
from edge.emotion.preprocess import to_pixels

# 20 or 2,000 pictures differ little in what they give; their domain matters.
SAMPLES = 256
# Looked at for brightness and contrast where nothing is labelled.
POOL = 5_000


Kind = Literal["real pictures", "made-up pictures that batch normalisation remembers", "made-up pictures"]
REAL: Kind = "real pictures"
REMEMBERED: Kind = "made-up pictures that batch normalisation remembers"
NOISE: Kind = "made-up pictures"


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was calibrated with.

    Attributes:
        pixels: uint8 (N, height, width, channels).
        kind: where they are from.
    """

    pixels: NDArray[np.uint8]
    kind: Kind

    @property
    def method(self) -> Method:
        """How to choose ranges where nobody says: made-up pictures have fewer of the rare values that real ones have, and
        a method that clips what is rare would clip what is not (docs/quantization.md).
        """
        return "mse" if self.kind == REAL else "minmax"


def choose(split: Split, spec: InputSpec, count: int, seed: int) -> Calibration:
    """Choose and prepare pictures: of every class where they are labelled, else of every light and sharpness.

    Args:
        split: the part to calibrate with.
        spec: the network's input.
        count: how many.
        seed: decides which.
    """
    if split.labels is not None:
        return Calibration(prepare(split, stratified(split.labels, count, seed), spec), REAL)
    pool = np.sort(np.random.default_rng(seed).permutation(len(split))[:POOL])
    pixels = prepare(split, pool, spec)
    return Calibration(pixels[stratified(appearance_strata(pixels), count, seed)], REAL)


def make_up(network: Any, spec: InputSpec, count: int, seed: int, progress: Progress) -> Calibration:
    """Pictures without a data set: what a network with batch normalisation remembers of its own, else noise.

    Args:
        network: the Keras model; None where there is none behind the file.
        spec: the network's input.
        count: how many; fewer of what a network remembers, which says all it knows.
        seed: the same seed gives the same pictures.
        progress: see `Progress`.
    """
    if network is not None and remembers(network):
        return Calibration(dream(network, spec, seed, progress)[:count], REMEMBERED)
    return Calibration(pink_noise(count, (spec.height, spec.width, spec.channels), seed), NOISE)


def prepare(split: Split, rows: NDArray[np.int64], spec: InputSpec) -> NDArray[np.uint8]:
    """Rows of a split as the network's pixels: uint8 (N, height, width, channels)."""
    if not len(rows):
        return np.empty((0, spec.height, spec.width, spec.channels), np.uint8)
    return np.stack([to_pixels(split.images[int(row)], spec) for row in rows])
