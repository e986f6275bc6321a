"""The nouns of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The order of fer2013.csv's `emotion` column (Goodfellow et al. 2013, the Kaggle challenge's own description).
FER2013_LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


@dataclass(frozen=True, slots=True)
class Split:
    """Images of one purpose.

    Attributes:
        images: N pictures, each uint8 (H, W) gray or (H, W, 3) BGR. One array when all sizes agree, else a list.
        labels: int64 (N,), indices into the data set's labels; None where nothing is labelled.
        votes: int8 (N, 10), the crowd's votes in the order of votes.CHOICES, -1 where nobody was asked; None without votes.
    """

    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]
    labels: NDArray[np.int64] | None
    votes: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A training part to learn or calibrate from and a held-out part to measure on; they share no picture.

    Attributes:
        name: what the reports call it.
        labels: class names; `Split.labels` index into them.
        train: the part that is learned or calibrated from.
        held_out: the part that is measured on (FER2013: PublicTest).
        held_out_name: what the reports call that part.
        train_name: what they call the other.
        no_votes: what to do, or what went wrong, where nobody's votes are known.
    """

    name: str
    labels: tuple[str, ...]
    train: Split
    held_out: Split
    held_out_name: str
    train_name: str = "Training"
    no_votes: str = "only fer2013.csv with FER+'s fer2013new.csv beside it, and an .npz with train_votes, have any"
