"""Float against artifact, both through edge's own preprocessing, the artifact through edge's runtime: the gate."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from converters.proof.evaluate import Quality, evaluate, paired_difference
from edge.emotion.classify import Classifier

# A class is down when it loses more than this, in points, and more than this many standard errors: half of the classes
# of PublicTest have under 500 rows, where chance alone moves a recall by a point.
CLASS_DROP, CLASS_ERRORS = 3.0, 2.0
# Synthetic pictures say something when the network answers them with three classes, each in 5 % of the cases.
SPREAD_CLASSES, SPREAD_SHARE = 3, 0.05
# They lie nearer to the borders between classes than faces do: conversions that agree on .966 and .969 of PublicTest agree
# on .953 and .848 of them. Of those where the float network's first class leads by this much, on 1.000 and .993.
DECIDED = 0.2
# Where no loss at all is allowed, or a gain is asked for, a row may be worth so many points.
LEAST_ROW = 1.0
CALLS = 200
# Names are taken for swapped when more is right the other way by so many standard errors.
ORDER_ERRORS = 3.0

Verdict = Literal["passed", "failed", "unproven"]


class Check(msgspec.Struct, frozen=True):
    """One condition of the gate: what it is about, what was found, what was allowed."""

    name: str
    figure: float
    limit: float
    passed: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Figures of an artifact and of its original on the same rows.

    Attributes:
        reference, artifact: quality; None without labels.
        agreement: share of rows with the same top-1; None where it says nothing.
        difference: largest difference of a probability.
        checks: the gate.
        proven: whether labels stood behind it, of so many rows that one of them is no more than the allowed drop.
    """

    reference: Quality | None
    artifact: Quality | None
    agreement: float | None
    difference: float
    checks: tuple[Check, ...]
    proven: bool

    @property
    def verdict(self) -> Verdict:
        """`failed`, `unproven` (nothing failed, but nothing was labelled) or `passed`."""
        if not all(check.passed for check in self.checks):
            return "failed"
        return "passed" if self.proven else "unproven"


def compare(
    reference: NDArray[np.float32],
    artifact: NDArray[np.float32],
    truth: NDArray[np.int64] | None,
    labels: Sequence[str],
    limits: tuple[float, float],
    synthetic: bool,
) -> Comparison:
    """Hold scores of an artifact against those of its original.

    Args:
        reference: float32 (N, classes), N > 0.
        artifact: float32 (N, classes) of the same rows.
        truth: int64 (N,) or None.
        labels: of the classes.
        limits: largest drop of accuracy in points, smallest agreement as a fraction.
        synthetic: whether the rows are made up.
    """
    max_drop, min_agreement = limits
    before, after = reference.argmax(axis=1), artifact.argmax(axis=1)
    difference = float(np.abs(reference - artifact).max())
    agreement: float | None = float((before == after).mean())
    checks = []
    if synthetic:
        agreement = _decided_agreement(reference, after)
    if agreement is not None:
        note = "made-up pictures that the float network is sure of" if synthetic else ""
        checks.append(Check("agreement", agreement, min_agreement, agreement >= min_agreement, note))
    if truth is None:
        return Comparison(None, None, agreement, difference, tuple(checks), proven=False)
    qualities = evaluate(before, truth, len(labels)), evaluate(after, truth, len(labels))
    drop = 100 * paired_difference(before == truth, after == truth)[0]
    # A hair of tolerance: a drop of exactly the limit passes, however it was rounded.
    checks.append(Check("accuracy drop", drop, max_drop, drop <= max_drop + 1e-9, "points"))
    checks += [_class_check(name, before, after, truth, i) for i, name in enumerate(labels) if (truth == i).any()]
    checks.append(_order_check(after, truth, labels))
    # Where one row is worth more than the whole budget, passing is chance.
    proven = 100 / len(truth) <= (max_drop if max_drop > 0 else LEAST_ROW)
    return Comparison(*qualities, agreement, difference, tuple(checks), proven)


def _order_check(after: NDArray[np.int64], truth: NDArray[np.int64], labels: Sequence[str]) -> Check:
    """Whether another order of the labels would fit the pictures better: swapped names pass every other check, because the
    original is named as wrongly.

    The order is chosen on every second row and tried on the others, and the other way round: the best of many orders
    would gain by chance on the rows that chose it. One that is no better than always naming one class is no order.
    """
    read = np.empty_like(after)
    for half in (0, 1):
        read[half::2] = _best_reading(after[1 - half :: 2], truth[1 - half :: 2], len(labels))[after[half::2]]
    gain, error = paired_difference(read == truth, after == truth)
    knows = (read == truth).mean() > np.bincount(truth).max() / len(truth)
    reading = _best_reading(after, truth, len(labels)).tolist()
    moved = [f"{labels[i]} for {labels[k]}" for i, k in enumerate(reading) if i != k]
    note = f"points, reading {', '.join(moved)}" if moved else "points"
    passed = bool(gain <= ORDER_ERRORS * error or not knows)
    return Check("gain by another order of labels", 100 * gain, 100 * ORDER_ERRORS * error, passed, note)


def _best_reading(after: NDArray[np.int64], truth: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """For each output the class that it would be if the labels stood in the order that makes most rows right."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (after, truth), 1)
    reading, rows = np.arange(classes), np.arange(classes)
    # Two names change places as long as more is right after it; from a shuffled order that leads back.
    while True:
        right, swapped = counts[rows, reading], counts[rows[:, None], reading[None, :]]
        gain = swapped + swapped.T - right[:, None] - right[None, :]
        one, other = np.unravel_index(int(gain.argmax()), gain.shape)
        if gain[one, other] <= 0:
            return reading
        reading[[one, other]] = reading[[other, one]]


def _decided_agreement(reference: NDArray[np.float32], after: NDArray[np.int64]) -> float | None:
    """Share of the same top-1 among the rows that the float network has decided; None when they are of too few classes."""
    ordered = np.sort(reference, axis=1)
    decided = ordered[:, -1] - ordered[:, -2] >= DECIDED
    before = reference.argmax(axis=1)[decided]
    shares = np.bincount(before, minlength=reference.shape[1]) / max(len(before), 1)
    if (shares >= SPREAD_SHARE).sum() < min(SPREAD_CLASSES, len(shares)):
        return None
    return float((before == after[decided]).mean())


def scores_through_edge(classifier: Classifier, pixels: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Run an artifact on every picture, one call each, as the device does.

    Args:
        classifier: the artifact with its manifest.
        pixels: uint8 (height, width, channels) each, from `edge.emotion.preprocess.to_pixels`.

    Returns:
        float32 (N, classes).
    """
    return np.stack([classifier.scores(picture) for picture in pixels])


def latencies(timed: Sequence[tuple[Classifier, NDArray[np.uint8]]]) -> list[float]:
    """Median milliseconds of one call, pixels to scores, on one thread; each network with pictures of its own size.

    The networks take turns call by call, so that whatever else the machine does meets them alike, each after a call that is
    not counted: without it one that runs after another of its kind finds the runtime's code in the caches, and seems 12 % faster.
    """
    times: list[list[float]] = [[] for _ in timed]
    for call in range(CALLS):
        for (classifier, pixels), spent in zip(timed, times, strict=True):
            classifier.scores(pixels[call % len(pixels)])
            start = time.perf_counter()
            classifier.scores(pixels[call % len(pixels)])
            spent.append(time.perf_counter() - start)
    return [1000 * float(np.median(spent)) for spent in times]


def _class_check(name: str, before: NDArray[np.int64], after: NDArray[np.int64], truth: NDArray[np.int64], index: int) -> Check:
    rows = truth == index
    loss, error = paired_difference(before[rows] == index, after[rows] == index)
    passed = 100 * loss <= CLASS_DROP or loss <= CLASS_ERRORS * error
    return Check(f"recall drop of {name}", 100 * loss, CLASS_DROP, passed, f"points, standard error {100 * error:.2f}")
