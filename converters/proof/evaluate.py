"""What predictions are worth: accuracy, macro-F1, recall and precision of each class, and what their confidence is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from calibration.temperature import FLOOR, at_temperature, expected_calibration_error, fit_temperature, negative_log_likelihood

# Fitted to so many rows of PublicTest, the error on the others falls from 7.3 to 2.5 % (mini-Xception) and stays at 2.5 %
# where nothing is to be mended (micro); fitted to 100 rows it rises there to 3.4 % (means of 60 draws).
FEWEST_TO_FIT = 500


@dataclass(frozen=True, slots=True)
class Quality:
    """Figures of one set of predictions, all fractions.

    Attributes:
        accuracy: share of rows whose top-1 is their label.
        macro_f1: mean over the classes that have rows of 2PR/(P+R).
        recall: of each class; None where a class has no rows.
        precision: of each class; None where a class was never said.
        confusion: rows of each true class (first index) that were taken for each class (second).
    """

    accuracy: float
    macro_f1: float
    recall: tuple[float | None, ...]
    precision: tuple[float | None, ...]
    confusion: NDArray[np.int64]

    @property
    def standard_error(self) -> float:
        """Of the accuracy, as a fraction: sqrt(p (1 - p) / N), what another draw of so many rows would move it by."""
        return float(np.sqrt(self.accuracy * (1 - self.accuracy) / self.confusion.sum()))


How = Literal["fitted", "given", "kept", "declined", "carried"]


class Confidence(msgspec.Struct, frozen=True):
    """What a network's probabilities are worth, before and after its temperature.

    Attributes:
        temperature: that the scores are given at.
        how: `fitted` on the very rows that the errors are measured on, `given`, `kept` at 1 for want of rows to fit to,
            `declined`: 1, because the likeliest temperature would have made the calibration error larger, or `carried`:
            fitted by edge-convert and in the manifest since.
        rows: labelled ones.
        ece_before, ece_after: expected calibration error at temperature 1 and at this one, as fractions, 15 equal bins.
        nll_before, nll_after: mean of -log p(true class), in nats.
    """

    temperature: float
    how: How
    rows: int
    ece_before: float
    ece_after: float
    nll_before: float
    nll_after: float


def evaluate(predicted: NDArray[np.int64], truth: NDArray[np.int64], classes: int) -> Quality:
    """Judge predictions.

    Args:
        predicted: int64 (N,), N > 0.
        truth: int64 (N,).
        classes: how many there are.
    """
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    hits, rows, said = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    present = rows > 0
    # 2PR/(P+R) = 2 hits / (rows + said), which needs no care for a class that was never said.
    f1 = 2 * hits[present] / (rows[present] + said[present])
    recall = tuple(float(hit / row) if row else None for hit, row in zip(hits, rows, strict=True))
    precision = tuple(float(hit / times) if times else None for hit, times in zip(hits, said, strict=True))
    return Quality(float(hits.sum() / rows.sum()), float(f1.mean()), recall, precision, confusion)


def confidence(
    scores: NDArray[np.float32], truth: NDArray[np.int64], given: float | None, resolution: float = FLOOR, fit: bool = True
) -> Confidence:
    """Judge probabilities, at a given temperature or at the one that fits them best.

    Args:
        scores: float32 (N, classes) at temperature 1, N > 0.
        truth: int64 (N,).
        given: the temperature that somebody chose; None fits one where there are FEWEST_TO_FIT rows, else it is 1, as it
            is where the fitted one would make the calibration error larger.
        resolution: see `calibration.temperature.fit_temperature`.
        fit: whether these rows may be fitted to; not those that the network has learned from.
    """
    how: How = "given"
    if given is None:
        how = "fitted" if fit and len(truth) >= FEWEST_TO_FIT else "kept"
    temperature = round(fit_temperature(scores, truth, resolution), 3) if how == "fitted" else given or 1.0
    before = after = expected_calibration_error(scores, truth)
    if temperature != 1.0:
        after = expected_calibration_error(at_temperature(scores, temperature), truth)
    if how == "fitted" and after > before:
        # Students of softened answers: the likelihood of a few rows pays for the rest.
        temperature, how, after = 1.0, "declined", before
    return Confidence(
        temperature,
        how,
        len(truth),
        before,
        after,
        *(negative_log_likelihood(scores, truth, at, resolution) for at in (1.0, temperature)),
    )


def paired_difference(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> tuple[float, float]:
    """How much more often `one` is right than `other` on the same rows, and how sure that is.

    With b rows that only `one` has right and c that only `other` has, of n: difference (b - c) / n, standard error
    sqrt(b + c - (b - c)^2 / n) / n (Agresti, Categorical Data Analysis, 2nd ed., section 10.1.1; McNemar's setting).

    Args:
        one: bool (N,).
        other: bool (N,).

    Returns:
        The difference and its standard error, as fractions; zeros for no rows.
    """
    n = len(one)
    if n == 0:
        return 0.0, 0.0
    b, c = int((one & ~other).sum()), int((other & ~one).sum())
    return (b - c) / n, float(np.sqrt(b + c - (b - c) ** 2 / n)) / n
