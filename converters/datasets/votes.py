"""The crowd's votes of FER+ (Barsoum et al. 2016, arXiv:1608.01041): ten people looked at each picture of FER2013 again."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError

# The order of fer2013new.csv's columns; `nf` is "not a face".
CHOICES = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt", "unknown", "nf")


def shares(votes: NDArray[np.int8]) -> NDArray[np.float32]:
    """Counts int8 (N, 10), -1 for a picture nobody was asked about -> shares float32 (N, 10); zeros without votes."""
    counts = np.maximum(votes, 0).astype(np.float32)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def as_labels(votes: NDArray[np.int8], labels: tuple[str, ...]) -> NDArray[np.float32]:
    """The shares of those votes that fall on a data set's own labels: float32 (N, len(labels)), zeros without any."""
    columns = [CHOICES.index(label) if label in CHOICES else None for label in labels]
    counts = np.maximum(votes, 0).astype(np.float32)
    own = np.stack([counts[:, column] if column is not None else np.zeros(len(counts), np.float32) for column in columns], axis=1)
    return own / np.maximum(own.sum(axis=1, keepdims=True), 1)


def read_votes(path: Path, usages: Sequence[str]) -> dict[str, NDArray[np.int8]]:
    """Read FER+'s `fer2013new.csv`: Usage, Image name, then ten counts; its rows are those of fer2013.csv.

    Args:
        path: the file.
        usages: the Usage column of fer2013.csv, all rows.

    Returns:
        int8 (N, 10) for each usage, in the file's order.

    Raises:
        DataError: a row is broken, or the two files' rows are not the same.
    """
    found: dict[str, list[list[int]]] = {usage: [] for usage in usages}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = csv.reader(file)
        if len(next(rows, [])) != 2 + len(CHOICES):
            raise DataError(
                f"{path}: row 1 should have Usage, Image name and {len(CHOICES)} choices; this is not FER+'s fer2013new.csv"
            )
        lines = [row for row in rows if row]
    if len(lines) != len(usages):
        raise DataError(f"{path}: {len(lines):,} rows, fer2013.csv has {len(usages):,}; the two do not belong together")
    for number, (row, usage) in enumerate(zip(lines, usages, strict=True), start=2):
        counts = [int(cell) if cell.strip().isdecimal() else -1 for cell in row[2:]]
        if len(counts) != len(CHOICES) or min(counts) < 0 or max(counts) > 100:
            raise DataError(f"{path}: row {number} should have {len(CHOICES)} counts of votes")
        if row[0].strip() != usage:
            raise DataError(
                f"{path}: row {number} is of {row[0].strip()!r}, in fer2013.csv of {usage!r}; the two do not belong together"
            )
        found[usage].append(counts)
    return {usage: np.array(part, np.int8).reshape(-1, len(CHOICES)) for usage, part in found.items()}
