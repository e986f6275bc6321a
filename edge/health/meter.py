"""Counts what goes through: frames and their latency, as `stats` tells them."""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple

import numpy as np

from edge.clock import SYSTEM, Clock, rfc3339
from edge.delivery.events import CameraStats, Counters, Latency, Shadow, Stats
from edge.health.vitals import resident, temperature, throttled

# The newest of an interval: enough for a p99, and bounded however long the interval is.
LATENCIES = 10_000


class Reading(NamedTuple):
    """What the other stages know of themselves at this moment.

    Attributes:
        captured: frames that the source gave, dropped: those that nobody took in time, queue: those that wait.
        size: (width, height) of a live camera in pixels, reopened: how often it was opened again.
        every: faces are looked for in every so-manieth frame.
        restarts: stages that hung and were started anew.
    """

    captured: int
    dropped: int
    queue: int
    events: Counters
    every: int = 1
    size: tuple[int, int] | None = None
    reopened: int = 0
    restarts: int = 0
    shadow: Shadow | None = None


class Meter:
    """Frames and their latency. The analysis counts, the supervisor reads; one `snapshot` begins a new interval."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._began = self._interval = clock.monotonic()
        self._frames, self._since, self._captured = 0, 0, 0
        self._latencies = deque[float](maxlen=LATENCIES)

    def frame(self, seconds: float) -> None:
        """One frame is through; seconds from its capture to the end of its work."""
        with self._lock:
            self._frames += 1
            self._since += 1
            self._latencies.append(seconds)

    @property
    def frames(self) -> int:
        """Frames since the start."""
        return self._frames

    def due(self, interval: float) -> bool:
        """Whether so many seconds have passed since the last snapshot."""
        return self._clock.monotonic() - self._interval >= interval

    def snapshot(self, reading: Reading) -> Stats:
        """The figures since the last snapshot; a new interval begins."""
        stats = self.peek(reading)
        with self._lock:
            self._interval, self._since, self._captured = self._clock.monotonic(), 0, reading.captured
            self._latencies.clear()
        return stats

    def peek(self, reading: Reading) -> Stats:
        """The figures since the last snapshot; the interval goes on."""
        now = self._clock.monotonic()
        with self._lock:
            spent = max(now - self._interval, 1e-9)
            latencies, frames, captured = list(self._latencies), self._since, reading.captured - self._captured
        heat = temperature()
        return Stats(
            v=1,
            at=rfc3339(self._clock.time()),
            uptime=round(now - self._began, 1),
            fps=round(frames / spent, 2),
            latency=Latency(*(round(1000 * float(q), 2) for q in np.percentile(latencies, (50, 95, 99)))) if latencies else None,
            frames=self._frames,
            frames_dropped=reading.dropped,
            queue=reading.queue,
            events=reading.events,
            temperature=heat,
            rss=resident(),
            every=reading.every,
            throttled=throttled(),
            restarts=reading.restarts,
            camera=CameraStats(*reading.size, round(max(0, captured) / spent, 2), reading.reopened) if reading.size else None,
            shadow=reading.shadow,
        )
