"""How many threads a detection is worth, measured on this very board."""

from __future__ import annotations

import logging
import os
import statistics
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

# Seconds for all numbers together, and the most calls of each that are counted; one before them warms up.
PATIENCE, MOST = 0.3, 10
# A second thread takes a core from everyone else, so it has to give a good part of it back.
WORTHWHILE = 0.75


def fastest(
    prepare: Callable[[int], Callable[[], object]], cores: int | None = None, now: Callable[[], float] = time.perf_counter
) -> int:
    """Measure 1, 2 and 4 threads as far as the time reaches.

    Args:
        prepare: number of threads -> a detection to be timed.
        cores: how many there are; without it, those that this process may use.
        now: seconds, by which calls are timed.

    Returns:
        The smallest number of threads that no larger one beats by a quarter of its time.
    """
    available = len(os.sched_getaffinity(0)) if cores is None else cores
    end = now() + PATIENCE
    best, shortest = 1, float("inf")
    for threads in (1, 2, 4):
        left = end - now()
        if threads > max(1, available) or (threads > 1 and left <= 0):
            break
        median = _median(prepare(threads), end if threads > 1 else now() + PATIENCE / 3, now)
        if median < WORTHWHILE * shortest:
            best, shortest = threads, median
    log.debug("a detection takes %.1f ms with %d threads", 1000 * shortest, best)
    return best


def _median(detect: Callable[[], object], end: float, now: Callable[[], float]) -> float:
    detect()
    times: list[float] = []
    while not times or (len(times) < MOST and now() < end):
        begin = now()
        detect()
        times.append(now() - begin)
    return statistics.median(times)
