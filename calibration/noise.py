"""How much of a signal is left: the measure of what quantization does to a tensor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Where nothing differs.
SILENT = 150.0


class Noise:
    """Signal and noise of one tensor, summed over pictures."""

    def __init__(self) -> None:
        self._signal = self._noise = 0.0

    def add(self, exact: NDArray[np.floating], changed: NDArray[np.floating]) -> None:
        """Compare one picture's tensor with what became of it; both of one shape."""
        exact = exact.astype(np.float64)
        self._signal += float((exact**2).sum())
        self._noise += float(((exact - changed) ** 2).sum())

    @property
    def sqnr_db(self) -> float | None:
        """Signal to quantization noise in dB: 10 log10(sum x^2 / sum (x - x')^2), at most SILENT; None without any signal."""
        if self._signal <= 0:
            return None
        if self._noise <= 0:
            return SILENT
        return float(np.clip(10 * np.log10(self._signal / self._noise), -SILENT, SILENT))
