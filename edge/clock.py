"""Two clocks, never mixed: `monotonic` for waiting and intervals, the wall clock for stamps alone.

A wall clock may step by hours (a board without a battery gets its time from the network), so no interval rests on it.
"""

from __future__ import annotations

import time as _time
from datetime import datetime, timezone
from typing import Protocol


class Clock(Protocol):
    """Both clocks; whoever judges an age takes one, so that a test can make hours pass."""

    def monotonic(self) -> float:
        """Seconds that never go back, from an unknown beginning."""

    def time(self) -> float:
        """Unix time in seconds, which may step."""


class _System:
    """The machine's own."""

    def monotonic(self) -> float:
        return _time.monotonic()

    def time(self) -> float:
        return _time.time()


SYSTEM: Clock = _System()


def rfc3339(at: float) -> str:
    """Unix seconds -> RFC 3339 in UTC with milliseconds, such as `2026-11-21T07:47:05.480Z`."""
    stamp = datetime.fromtimestamp(round(at * 1000) / 1000, tz=timezone.utc)
    return stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")
