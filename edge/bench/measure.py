"""Taking turns: every candidate is measured again and again in short turns, so that what disturbs a machine disturbs all."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from edge.bench.candidates import Candidate, LeftOut, Opened
from edge.emotion.golden import golden_crop
from edge.errors import first_line

# Rounds in which everyone has a turn, and the fewest that say something about their own spread.
ROUNDS, FEWEST_ROUNDS = 10, 3
# Calls at the start of a turn that are not counted: caches hold the last candidate's weights, its threads sleep.
WARM_UP = 3
FEWEST_CALLS = 3
# Threads that spin for their next call have gone to sleep by then, seconds (4 ms of processor time after a call of TFLite's
# own kernels with two threads, under 2 ms with XNNPACK).
REST = 0.005


class Measured(msgspec.Struct, frozen=True):
    """A candidate with its times.

    Attributes:
        candidate: what was measured.
        runtime: package and version.
        median_ms, p95_ms: over all counted calls of all turns, milliseconds from pixels to scores.
        rounds_ms: the median of each round's turn.
        calls: how many were counted.
    """

    candidate: Candidate
    runtime: str
    median_ms: float
    p95_ms: float
    rounds_ms: tuple[float, ...]
    calls: int


def take_turns(
    opened: Sequence[Opened], seconds: float, seed: int, report: Callable[[float], None]
) -> tuple[list[Measured], list[LeftOut]]:
    """Measure candidates in rounds, in an order that is shuffled for each round.

    Args:
        opened: verified candidates; each is called as `edge-run` calls it for a face, on its manifest's golden crops. Who
            does not stay open is opened anew for each turn.
        seconds: for all together; kept unless candidates are so slow that their fewest calls, or to open them, take longer.
        seed: of the order.
        report: called with the share that is done.

    Returns:
        Those that were measured, in the order given, and those that failed on the way.
    """
    turns: list[list[list[float]]] = [[] for _ in opened]
    failed: dict[int, str] = {}
    draw = random.Random(seed)  # noqa: S311 - an order, not a secret
    start = time.perf_counter()
    for number in range(ROUNDS):
        order = list(range(len(opened)))
        draw.shuffle(order)
        for place, index in enumerate(order):
            # What is left is shared by the turns that are left, so a slow candidate shortens everyone's.
            left = (ROUNDS - number) * len(order) - place
            length = (start + seconds - time.perf_counter()) / left
            if index not in failed:
                try:
                    turns[index].append(_turn(opened[index], length))
                # A stick that is pulled out, a delegate that gives up: whatever it raises, the others go on.
                except Exception as error:  # noqa: BLE001
                    failed[index] = f"failed while it was measured: {first_line(error)}"
            report(1 - (left - 1) / (ROUNDS * len(order)))
        if number + 1 >= FEWEST_ROUNDS and time.perf_counter() > start + seconds:
            break
    report(1.0)
    measured = [_summary(one, turns[index]) for index, one in enumerate(opened) if index not in failed]
    return measured, [LeftOut(opened[index].candidate, reason) for index, reason in failed.items()]


def _turn(opened: Opened, length: float) -> list[float]:
    """One turn of about `length` seconds: milliseconds of each counted call."""
    end = time.perf_counter() + length
    classifier = opened.open()
    crops = itertools.cycle([golden_crop(golden.rule, opened.manifest.input) for golden in opened.manifest.golden])
    time.sleep(REST)
    for _ in range(WARM_UP):
        classifier.scores(next(crops))
    times: list[float] = []
    while len(times) < FEWEST_CALLS or time.perf_counter() < end:
        crop = next(crops)
        before = time.perf_counter()
        classifier.scores(crop)
        times.append(1000 * (time.perf_counter() - before))
    return times


def _summary(opened: Opened, turns: Sequence[Sequence[float]]) -> Measured:
    times = np.concatenate([np.asarray(turn) for turn in turns])
    return Measured(
        candidate=opened.candidate,
        runtime=opened.runtime,
        median_ms=float(np.median(times)),
        p95_ms=float(np.percentile(times, 95)),
        rounds_ms=tuple(float(np.median(turn)) for turn in turns),
        calls=len(times),
    )
