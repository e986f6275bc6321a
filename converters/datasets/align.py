"""Class names: what a data set calls its classes against what the model calls its outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from converters.datasets.types import Dataset, Split
from edge.errors import DataError

# What people call their classes -> the word that FER2013's seven use.
SYNONYMS = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprised": "surprise",
    "calm": "neutral",
}


def find_class(name: str, labels: Sequence[str]) -> int | None:
    """Index of a class among a model's labels: by its own name, else by what else people call it; None without one."""
    lower = [label.lower() for label in labels]
    if name.lower() in lower:
        return lower.index(name.lower())
    words = [SYNONYMS.get(label, label) for label in lower]
    word = SYNONYMS.get(name.lower(), name.lower())
    return words.index(word) if word in words else None


def align(data: Dataset, labels: Sequence[str]) -> tuple[Dataset, int]:
    """Express a data set in a model's classes.

    Rows of a class that the model does not know can neither be right nor wrong and are left out.

    Returns:
        The data set with the model's labels, and how many rows were left out.

    Raises:
        DataError: none of its classes is among the model's.
    """
    if tuple(labels) == data.labels:
        return data, 0
    indices = [find_class(name, labels) for name in data.labels]
    if all(index is None for index in indices):
        raise DataError(f"{data.name} has the classes {', '.join(data.labels)}, the model {', '.join(labels)}: not one in common")
    lookup = np.array([-1 if index is None else index for index in indices], np.int64)
    train, held_out = (_split(split, lookup) for split in (data.train, data.held_out))
    dropped = len(data.train) + len(data.held_out) - len(train) - len(held_out)
    return dataclasses.replace(data, labels=tuple(labels), train=train, held_out=held_out), dropped


def _split(split: Split, lookup: NDArray[np.int64]) -> Split:
    if split.labels is None:
        return split
    indices = lookup[split.labels]
    rows = np.flatnonzero(indices >= 0)
    images = split.images[rows] if isinstance(split.images, np.ndarray) else [split.images[row] for row in rows.tolist()]
    return Split(images, indices[rows], None if split.votes is None else split.votes[rows])
