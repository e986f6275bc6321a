"""How often a stage may be started anew before only a new process can help."""

from __future__ import annotations

from collections import deque

from edge.clock import SYSTEM, Clock
from edge.errors import StageError

# A stage that hangs more often than so many times in so many seconds does not get better by starting it again.
MOST, WITHIN = 3, 3600.0


class Restarts:
    """Counts them.

    Attributes:
        total: since this process began.
    """

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock, self._times, self.total = clock, deque[float](), 0

    def count(self, why: str) -> None:
        """One more.

        Args:
            why: one clause, for the error.

        Raises:
            StageError: it was one too many.
        """
        if self._recent() >= MOST:
            raise StageError(f"{why}, for the {MOST + 1}. time in {WITHIN / 3600:g} h; only a new process can help")
        self._times.append(self._clock.monotonic())
        self.total += 1

    @property
    def long_ago(self) -> bool:
        """Whether the last one is so long ago that it is over and forgotten."""
        return not self._recent()

    def _recent(self) -> int:
        while self._times and self._clock.monotonic() - self._times[0] > WITHIN:
            self._times.popleft()
        return len(self._times)
