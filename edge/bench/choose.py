"""The verdict: the fastest within the accuracy budget: a pure function of what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from edge.bench.candidates import CPU, Candidate
from edge.bench.measure import Measured
from edge.runtime import XNNPACK

# Medians that differ by less than this are as fast as each other: between two runs of one model they differ as much.
TIE = 0.03

Standing = Literal["proven", "unproven", "over budget", "failed"]
# The pictures that an accuracy was measured on: their name and number.
Rows = tuple[str, int | None]


class Budget(msgspec.Struct, frozen=True):
    """What may be chosen.

    Attributes:
        max_drop: points of accuracy that a model may have lost against its float original, and may be below the best float
            original that was measured on the same rows.
        unproven: whether models without measured accuracy stand beside the proven ones.
    """

    max_drop: float = 1.0
    unproven: bool = False


class Choice(msgspec.Struct, frozen=True):
    """Who was chosen.

    Attributes:
        chosen: None when nobody may be.
        fastest: the eligible one with the lowest median; the chosen one where no tie was decided otherwise.
        ties: eligible ones that are as fast as `fastest`, without the chosen one.
        eligible: everyone who could have been chosen.
        best: for each rows that accuracies were measured on, whose float original is the most accurate.
    """

    chosen: Measured | None
    fastest: Measured | None
    ties: tuple[Measured, ...]
    eligible: tuple[Measured, ...]
    best: Mapping[Rows, Candidate]


def standing(candidate: Candidate, max_drop: float, best: Mapping[Rows, Candidate]) -> Standing:
    """What a candidate's accuracy allows.

    Args:
        candidate: with the metrics of its manifest.
        max_drop: points.
        best: from `best_floats`.
    """
    if candidate.metrics.verdict == "failed":
        return "failed"
    lost = drop(candidate)
    if over(lost, max_drop) or over(behind(candidate, best), max_drop):
        return "over budget"
    return "proven" if lost is not None and candidate.metrics.verdict == "passed" else "unproven"


def over(points: float | None, max_drop: float) -> bool:
    """Whether points of accuracy are more than allowed; what nobody measured is not."""
    # Shares become points with a rounding error; a drop of just the budget is within it.
    return points is not None and points > max_drop + 1e-9


def rows(candidate: Candidate) -> Rows | None:
    """What its accuracy was measured on, which accuracies have to share to be compared; None where nobody knows."""
    metrics = candidate.metrics
    return None if metrics.measured_on is None or metrics.accuracy is None else (metrics.measured_on, metrics.rows)


def best_floats(candidates: Iterable[Candidate]) -> dict[Rows, Candidate]:
    """For each rows, the candidate whose float original is the most accurate on them."""
    best: dict[Rows, Candidate] = {}
    for candidate in candidates:
        where, accuracy = rows(candidate), candidate.metrics.float_accuracy
        if where is not None and accuracy is not None:
            there = best.get(where)
            if there is None or accuracy > (there.metrics.float_accuracy or 0.0):
                best[where] = candidate
    return best


def behind(candidate: Candidate, best: Mapping[Rows, Candidate]) -> float | None:
    """Points of accuracy below the best float original on the same rows; None where that is not known."""
    where = rows(candidate)
    there = None if where is None else best.get(where)
    if there is None or there.metrics.float_accuracy is None or candidate.metrics.accuracy is None:
        return None
    return 100 * (there.metrics.float_accuracy - candidate.metrics.accuracy)


def drop(candidate: Candidate) -> float | None:
    """Points of accuracy lost against the float original; None where either was not measured."""
    metrics = candidate.metrics
    if metrics.accuracy is None or metrics.float_accuracy is None:
        return None
    return 100 * (metrics.float_accuracy - metrics.accuracy)


def choose(measured: Sequence[Measured], budget: Budget) -> Choice:
    """The fastest that may be chosen; ties go to fewer threads, then higher accuracy, then the smaller file.

    Unproven ones may be chosen when the budget says so, or when nothing that ran is proven and within it.
    """
    best = best_floats(one.candidate for one in measured)
    stands = [standing(one.candidate, budget.max_drop, best) for one in measured]
    allowed = {"proven", "unproven"} if budget.unproven or "proven" not in stands else {"proven"}
    eligible = [one for one, stand in zip(measured, stands, strict=True) if stand in allowed]
    if not eligible:
        return Choice(None, None, (), (), best)
    fastest = min(eligible, key=lambda one: one.median_ms)
    level = [one for one in eligible if one is fastest or as_fast(one, fastest)]
    chosen = min(level, key=preference)
    return Choice(chosen, fastest, tuple(one for one in level if one is not chosen), tuple(eligible), best)


def preference(one: Measured) -> tuple[int, float, int, bool, float]:
    """The order among those that are as fast as each other: fewer threads, accuracy, size, the default kernels, time."""
    candidate = one.candidate
    accuracy = candidate.metrics.accuracy
    return (
        candidate.threads or 1,
        1.0 if accuracy is None else -accuracy,
        candidate.bytes,
        candidate.delegate not in (None, XNNPACK, CPU),
        one.median_ms,
    )


def as_fast(one: Measured, other: Measured) -> bool:
    """Whether two differ by no more than the noise.

    They are told apart only when their medians differ by more than TIE and the faster one was faster in more than three
    quarters of the rounds: both had their turn in each, so what slows a whole round down cancels.
    """
    fast, slow = sorted((one, other), key=lambda each: each.median_ms)
    if slow.median_ms <= fast.median_ms * (1 + TIE):
        return True
    pairs = zip(slow.rounds_ms, fast.rounds_ms, strict=True)
    return bool(np.percentile([a / b for a, b in pairs], 25) <= 1.0)
