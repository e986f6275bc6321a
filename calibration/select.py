"""Which pictures to calibrate with: few, but of every kind that there is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

QUARTERS, HALVES = 4, 2


def stratified(strata: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Choose rows so that every stratum has its say, however rare it is.

    Args:
        strata: int64 (N,), the class or kind of each row.
        count: how many rows to choose; all rows when there are no more.
        seed: the same seed chooses the same rows.

    Returns:
        int64 (min(count, N),), sorted indices. Strata get equal shares; what a small one cannot fill goes to the others.
    """
    if count >= len(strata):
        return np.arange(len(strata))
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(strata))
    # A row's rank within its stratum; lowest ranks first is one row of each stratum in turn.
    rank = np.empty(len(strata), np.int64)
    for stratum in np.unique(strata):
        rows = shuffled[strata[shuffled] == stratum]
        rank[rows] = np.arange(len(rows))
    order = shuffled[np.argsort(rank[shuffled], kind="stable")]
    return np.sort(order[:count])


def appearance_strata(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Strata of pictures without labels: quarters of brightness, quarters of contrast, the blurred and the sharp half.

    Args:
        images: uint8 (N, height, width, channels).

    Returns:
        int64 (N,), 0..31.
    """
    gray = images.mean(axis=3)
    bright, contrast = gray.mean(axis=(1, 2)), gray.std(axis=(1, 2))
    light = _quantiles(bright, QUARTERS) * QUARTERS + _quantiles(contrast, QUARTERS)
    return light * HALVES + _quantiles(_sharpness(gray), HALVES)


def _sharpness(gray: NDArray[np.floating]) -> NDArray[np.floating]:
    """Energy of the Laplacian as a share of the picture's own variance, so that a flat light is not taken for a blur
    (Pech-Pacheco et al. 2000, ICPR, without that division).
    """
    middle = gray[:, 1:-1, 1:-1]
    laplacian = gray[:, :-2, 1:-1] + gray[:, 2:, 1:-1] + gray[:, 1:-1, :-2] + gray[:, 1:-1, 2:] - 4 * middle
    return np.asarray((laplacian**2).mean(axis=(1, 2)) / (gray.var(axis=(1, 2)) + 1))


def _quantiles(values: NDArray[np.floating], parts: int) -> NDArray[np.int64]:
    edges = np.quantile(values, np.arange(1, parts) / parts)
    return np.searchsorted(edges, values, side="right").astype(np.int64)
