"""Numbers for channels, and which of them are one and the same channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Numbers of channels, in the order in which a tensor holds them.
Ids = NDArray[np.int64]


class Ties:
    """Hands out numbers and remembers which stand or fall together (Tarjan 1975, a union-find)."""

    def __init__(self) -> None:
        self._parent: list[int] = []

    def new(self, count: int) -> Ids:
        """Numbers that nothing is tied to yet."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count, dtype=np.int64)

    def tie(self, one: Ids, other: Ids) -> None:
        """The channels of two tensors of one shape become the same, place by place."""
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            low, high = sorted((self._find(a), self._find(b)))
            # The lowest number stands for all, so that channels keep their order.
            self._parent[high] = low

    def roots(self) -> Ids:
        """The number that stands for each: int64 (all numbers handed out,)."""
        return np.array([self._find(number) for number in range(len(self._parent))], np.int64)

    def _find(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number
