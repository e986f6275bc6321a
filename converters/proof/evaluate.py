"""What predictions are worth: accuracy, macro-F1, recall of each class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Quality:
    """Figures of one set of predictions, all fractions.

    Attributes:
        accuracy: share of rows whose top-1 is their label.
        macro_f1: mean over the classes that have rows of 2PR/(P+R).
        recall: of each class; None where a class has no rows.
        confusion: rows of each true class (first index) that were taken for each class (second).
    """

    accuracy: float
    macro_f1: float
    recall: tuple[float | None, ...]
    confusion: NDArray[np.int64]


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
    return Quality(float(hits.sum() / rows.sum()), float(f1.mean()), recall, confusion)


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
