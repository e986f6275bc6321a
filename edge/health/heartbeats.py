"""Signs of life. The beat is of the loop, not of frames: an unplugged camera degrades the service, it does not restart it."""

from __future__ import annotations

from collections.abc import Mapping

from edge.clock import SYSTEM, Clock

# The supervisor turns four times a second; opening a detector anew or closing a camera takes it two.
OWN_STANDSTILL = 4.0


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
        self._asked = clock.monotonic()

    def beat(self, stage: str, at: float) -> None:
        """Say when a stage last moved, on the monotonic clock."""
        self._beats[stage] = at

    def forget(self, *stages: str) -> None:
        """These are not running: nothing is expected of them."""
        for stage in stages:
            self._beats.pop(stage, None)

    def hung(self) -> list[str]:
        """The stages that have not moved for too long.

        Whoever asks turns all the time. When it was itself that stood still (a machine that was suspended or swaps), everyone
        gets one turn before anybody is judged.
        """
        now = self._clock.monotonic()
        stood, self._asked = now - self._asked > OWN_STANDSTILL, now
        if stood:
            return []
        return [stage for stage, beat in self._beats.items() if now - beat > self._limits[stage]]

    def all_moved(self) -> bool:
        """Whether every stage has moved since this was last true: only then has the watchdog earned its meal."""
        moved = all(beat > self._at_last_meal.get(stage, -float("inf")) for stage, beat in self._beats.items())
        if moved:
            self._at_last_meal = dict(self._beats)
        return moved
