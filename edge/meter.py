"""How the device is doing: frame rate, latency, memory, temperature."""

from __future__ import annotations

import os
import time
from collections import deque
from pathlib import Path

import numpy as np

from edge.clock import rfc3339
from edge.delivery.events import Counters, Latency, Stats

# The newest of an interval: enough for a p99, and bounded however long the interval is.
LATENCIES = 10_000
THERMAL = Path("/sys/class/thermal")


class Meter:
    """Counts frames and their latency; one snapshot per `stats` message begins a new interval."""

    def __init__(self) -> None:
        self._began = self._interval = time.monotonic()
        self._frames = 0
        self._since, self._latencies = 0, deque[float](maxlen=LATENCIES)

    def frame(self, seconds: float) -> None:
        """One frame is through; seconds from its capture to the end of its work."""
        self._frames += 1
        self._since += 1
        self._latencies.append(seconds)

    @property
    def frames(self) -> int:
        """Frames since the start."""
        return self._frames

    def due(self, interval: float) -> bool:
        """Whether so many seconds have passed since the last snapshot."""
        return time.monotonic() - self._interval >= interval

    def snapshot(self, dropped: int, queue: int, events: Counters) -> Stats:
        """The figures since the last snapshot."""
        now = time.monotonic()
        spent, self._interval = max(now - self._interval, 1e-9), now
        latencies, frames = list(self._latencies), self._since
        self._latencies.clear()
        self._since = 0
        return Stats(
            v=1,
            at=rfc3339(time.time()),
            uptime=round(now - self._began, 1),
            fps=round(frames / spent, 2),
            latency=Latency(*(round(1000 * float(q), 2) for q in np.percentile(latencies, (50, 95, 99)))) if latencies else None,
            frames=self._frames,
            frames_dropped=dropped,
            queue=queue,
            events=events,
            temperature=temperature(),
            rss=resident(),
        )


def temperature() -> float | None:
    """The hottest thermal zone in degrees Celsius; None where the kernel shows none."""
    found = []
    for file in THERMAL.glob("thermal_zone*/temp"):
        try:
            found.append(int(file.read_text()) / 1000)
        except (OSError, ValueError):
            # A zone that is switched off cannot be read; the others can.
            continue
    return max(found, default=None)


def resident() -> int:
    """Resident memory of this process in bytes (proc(5), statm)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
