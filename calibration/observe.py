"""What values a tensor takes while pictures go through the network, kept as a histogram that grows with them.

One pass, a fixed amount of memory a tensor, the same result in whatever portions the values come.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Bins on each side of zero. A range is doubled when a value falls outside, so at least half of them are in use on the
# wider side: a quantile is then known to 1/2048 of the largest value, an eighth of an INT8 step.
HALF = 4096


class Histogram:
    """Counts of values in equal bins around zero, and their exact extremes.

    Attributes:
        counts: int64 (2 * HALF,) over [-reach, reach].
        reach: a power of two, so that halving the number of bins is exact.
        low, high: smallest and largest value seen.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(2 * HALF, np.int64)
        self.reach = 2.0**-20
        self.low, self.high = np.inf, -np.inf

    def add(self, values: NDArray[np.floating]) -> None:
        """Count values of any shape.

        Raises:
            ValueError: one of them is not a finite number.
        """
        # In double precision: half a step below the reach, a float32 would round up to it.
        flat = values.ravel().astype(np.float64)
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not np.isfinite(low + high):
            raise ValueError("a value that is not finite")
        self.low, self.high = min(self.low, low), max(self.high, high)
        while max(-low, high) >= self.reach:
            self._widen()
        bins = ((flat + self.reach) * (HALF / self.reach)).astype(np.int64)
        self.counts += np.bincount(bins, minlength=2 * HALF)

    @property
    def centers(self) -> NDArray[np.float64]:
        """Of the bins: float64 (2 * HALF,)."""
        return np.asarray((np.arange(2 * HALF) + 0.5) * (self.reach / HALF) - self.reach, np.float64)

    def _widen(self) -> None:
        """Each pair of bins becomes one, in the middle of a range twice as wide."""
        pairs = self.counts.reshape(-1, 2).sum(axis=1)
        self.counts = np.concatenate([np.zeros(HALF // 2, np.int64), pairs, np.zeros(HALF // 2, np.int64)])
        self.reach *= 2
