"""Two clocks, never mixed: `time.monotonic` for waiting and intervals, the wall clock for stamps alone.

A wall clock may step by hours (a board without a battery gets its time from the network), so no interval rests on it.
"""

from __future__ import annotations

from datetime import datetime, timezone


def rfc3339(at: float) -> str:
    """Unix seconds -> RFC 3339 in UTC with milliseconds, such as `2026-11-21T07:47:05.480Z`."""
    stamp = datetime.fromtimestamp(round(at * 1000) / 1000, tz=timezone.utc)
    return stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")
