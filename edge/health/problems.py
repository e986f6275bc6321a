"""What is wrong at this moment: each problem is told when it begins and when it is over, not in between."""

from __future__ import annotations

from collections.abc import Callable

from edge.clock import SYSTEM, Clock
from edge.delivery.events import Problem

# Seconds. A loose plug gives a frame now and then, and a board at its limit cools down for a moment.
SETTLED: dict[Problem, float] = {"camera": 5.0, "temperature": 60.0}

Tell = Callable[[Problem, bool, str], None]


class Problems:
    """The lasting ones, by name.

    Args:
        tell: called with the problem, whether it begins or ends, and one sentence.
        clock: what tells how long all has been well.
    """

    def __init__(self, tell: Tell, clock: Clock = SYSTEM) -> None:
        self._tell, self._clock = tell, clock
        self._lasting: dict[Problem, str] = {}
        self._well_since: dict[Problem, float] = {}

    def report(self, problem: Problem, text: str | None) -> None:
        """Say how it stands.

        Args:
            problem: which.
            text: one sentence while it lasts; None when all is well. One that comes and goes is told once: it is over when
                all has been well for as long as `SETTLED` says.
        """
        known = self._lasting.get(problem)
        if text is None:
            now = self._clock.monotonic()
            if known is None or now - self._well_since.setdefault(problem, now) < SETTLED.get(problem, 0.0):
                return
            del self._well_since[problem]
            del self._lasting[problem]
            self._tell(problem, False, f"over: {known}")
            return
        self._well_since.pop(problem, None)
        self._lasting[problem] = text
        if known is None:
            self._tell(problem, True, text)

    @property
    def lasting(self) -> frozenset[Problem]:
        """Their names."""
        return frozenset(self._lasting)
