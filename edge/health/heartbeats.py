"""Signs of life. The beat is of the loop, not of frames: an unplugged camera degrades the service, it does not restart it."""

from __future__ import annotations

from collections.abc import Mapping

from edge.clock import SYSTEM, Clock


class Heartbeats:
    """When each stage last moved, on the monotonic clock."""

    def __init__(self, limits: Mapping[str, float], clock: Clock = SYSTEM) -> None:
        """Start without beats.

        Args:
            limits: a stage that has not moved for so many seconds hangs.
            clock: what ages are told by.
        """
        self._limits, self._clock = limits, clock
        self._beats: dict[str, float] = {}
        self._at_last_meal: dict[str, float] = {}

    def beat(self, stage: str, at: float) -> None:
        """Say when a stage last moved, on the monotonic clock."""
        self._beats[stage] = at

    def forget(self, *stages: str) -> None:
        """These are not running: nothing is expected of them."""
        for stage in stages:
            self._beats.pop(stage, None)

    def hung(self) -> list[str]:
        """The stages that have not moved for too long."""
        now = self._clock.monotonic()
        return [stage for stage, beat in self._beats.items() if now - beat > self._limits[stage]]

    def all_moved(self) -> bool:
        """Whether every stage has moved since this was last true: only then has the watchdog earned its meal."""
        moved = all(beat > self._at_last_meal.get(stage, -float("inf")) for stage, beat in self._beats.items())
        if moved:
            self._at_last_meal = dict(self._beats)
        return moved
