"""Which part of what a tensor takes INT8 should tell apart: all of it, or less, more finely.

Whatever lies outside a range is clipped to its end; whatever lies inside is rounded to one of 256 steps. A wide range
rounds coarsely, a narrow one clips much.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calibration.observe import HALF, Histogram

Method = Literal["minmax", "percentile", "entropy", "mse"]
Range = tuple[float, float]
_Loss = Callable[[NDArray[np.float64], NDArray[np.float64], float, float], float]

# Share of the values inside, in per cent: what NVIDIA's toolkit for quantization recommends for activations of vision
# networks (Wu et al. 2020, arXiv:2004.09602, table 5).
PERCENTILE = 99.99
LEVELS = 256
# Entropy looks at bins of so many values on average, or at so few bins that each is a step of its own.
FULL, FEWEST_BINS = 256, 512
# Ends that are tried: the largest value times these.
SHRINK = np.linspace(1.0, 0.2, 81)


def choose_range(seen: Histogram, method: Method, percentile: float = PERCENTILE) -> Range:
    """The range of one tensor; zero is always inside, as padding and ReLU need it.

    Args:
        seen: what it took.
        method: `minmax`: everything. `percentile`: all but the rarest on each side. `mse`: the least squared error of
            rounding and clipping. `entropy`: the least loss of information, the Kullback-Leibler divergence of what is
            left from what was (Migacz 2017, "8-bit Inference with TensorRT", GTC S7310).
        percentile: share of the values inside, in per cent.

    Returns:
        (low, high), low <= 0 <= high.

    Raises:
        ValueError: nothing was seen.
    """
    if not seen.counts.any():
        raise ValueError("no value was seen")
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    match method:
        case "minmax":
            return low, high
        case "percentile":
            inside = _inside(seen, percentile / 100)
            return max(low, min(inside[0], 0.0)), min(high, max(inside[1], 0.0))
        case "mse":
            return _search(seen, low, high, _squared_error)
        case "entropy":
            return _search(seen, low, high, _divergence)


def _inside(seen: Histogram, share: float) -> Range:
    total = np.cumsum(seen.counts)
    rare = (1 - share) * total[-1]
    step = seen.reach / len(seen.counts) * 2
    first, last = int(np.searchsorted(total, rare, side="right")), int(np.searchsorted(total, total[-1] - rare))
    return first * step - seen.reach, (last + 1) * step - seen.reach


def _search(seen: Histogram, low: float, high: float, loss: _Loss) -> Range:
    """Shrink the upper end, then the lower one; each takes the least loss given the other."""
    counts, centers = (seen.counts, seen.centers) if loss is _squared_error else _coarser(seen)
    rows = np.flatnonzero(counts)
    # The middle of an outermost bin may lie a little outside of what was seen.
    weights, values = counts[rows].astype(np.float64), np.clip(centers[rows], seen.low, seen.high)
    if high > 0:
        high = min((high * share for share in SHRINK), key=lambda end: loss(values, weights, low, end))
    if low < 0:
        low = min((low * share for share in SHRINK), key=lambda end: loss(values, weights, end, high))
    return float(low), float(high)


def _coarser(seen: Histogram) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Counts and middles of fewer, fuller bins: what differs between bins of few values each is chance, not information,
    and a narrow range would seem to lose less of it. The zeros of a ReLU, half of all values and exact in INT8, would
    outweigh everything else; they count as their neighbours do.
    """
    counts, centers = seen.counts.copy(), seen.centers
    counts[HALF] = min(counts[HALF], counts[HALF + 1])
    while len(counts) > FEWEST_BINS and counts.sum() < FULL * np.count_nonzero(counts):
        counts, centers = counts.reshape(-1, 2).sum(axis=1), centers.reshape(-1, 2).mean(axis=1)
    return counts, centers


def _levels(values: NDArray[np.float64], low: float, high: float) -> tuple[NDArray[np.int64], float]:
    """The step that each value falls on, 0..255, and the width of a step."""
    width = max(high - low, 1e-12) / (LEVELS - 1)
    return np.clip(np.rint((values - low) / width), 0, LEVELS - 1).astype(np.int64), width


def _squared_error(values: NDArray[np.float64], counts: NDArray[np.float64], low: float, high: float) -> float:
    steps, width = _levels(values, low, high)
    return float((counts * (values - (low + steps * width)) ** 2).sum())


def _divergence(values: NDArray[np.float64], counts: NDArray[np.float64], low: float, high: float) -> float:
    """KL(what was there, the rest piled up at the ends || what 256 steps keep of the inside, spread over its bins)."""
    inside = (values >= low) & (values <= high)
    if not inside.any():
        return float("inf")
    kept, mass = values[inside], counts[inside]
    before = mass.copy()
    before[0] += counts[values < low].sum()
    before[-1] += counts[values > high].sum()
    steps, _ = _levels(kept, low, high)
    total, bins = np.bincount(steps, mass, LEVELS), np.bincount(steps, minlength=LEVELS)
    after = (total / np.maximum(bins, 1))[steps]
    before, after = before / before.sum(), after / after.sum()
    return float((before * np.log(before / after)).sum())
