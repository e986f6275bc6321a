"""A data set as the trainer wants it: gray pictures of one size, labels, and the crowd's votes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from converters.datasets import Dataset, Split, open_dataset
from converters.datasets.align import align
from converters.datasets.augment import Views, draw_views
from converters.datasets.votes import as_labels, shares
from converters.recipe import Recipe
from edge.emotion.manifest import InputSpec
from edge.emotion.preprocess import to_pixels, to_tensor
from edge.errors import DataError


@dataclass(frozen=True)
class Examples:
    """What is learned from and what selects the epoch.

    Attributes:
        name: of the data set.
        images: uint8 (N, S, S).
        labels: int64 (N,).
        classes: how many labels there are.
        held_out, held_out_labels: the same of the part that is measured on.
        held_out_name: what reports call that part.
        votes: float32 (N, V), shares of the crowd's votes, zeros where nobody voted; None where the recipe wants none.
        votes_as_labels: float32 (N, classes), the same on the labels' own classes.
    """

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: int
    held_out: NDArray[np.uint8]
    held_out_labels: NDArray[np.int64]
    held_out_name: str
    votes: NDArray[np.float32] | None = None
    votes_as_labels: NDArray[np.float32] | None = None

    @cached_property
    def digest(self) -> str:
        """sha256 of everything here: pictures, labels and votes."""
        parts = (self.images, self.labels, self.held_out, self.held_out_labels, self.votes)
        content = (part.tobytes() for part in parts if part is not None)
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in content)).hexdigest()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the network's input: height, width, channels."""
        return (*self.images.shape[1:3], 1)


def input_spec(size: int) -> InputSpec:
    """The contract of every network trained here: gray, in [-1, 1]."""
    return InputSpec(height=size, width=size, channels=1, color="gray", mean=(127.5,), scale=(1 / 127.5,))


def normalise(images: NDArray[Any]) -> NDArray[np.float32]:
    """By edge's own code: (N, S, S) in 0..255 -> float32 (N, S, S, 1) in [-1, 1]."""
    return to_tensor(images[..., None], input_spec(images.shape[1]))


def open_examples(path: Path, recipe: Recipe) -> Examples:
    """Read a data set, put its classes in the recipe's order, and check it against what the recipe needs; see `examples_of`."""
    return examples_of(open_dataset(path, recipe.labels), recipe)


def examples_of(data: Dataset, recipe: Recipe) -> Examples:
    """Prepare a data set for training.

    Raises:
        DataError: a part is empty, labels are missing, a class never occurs in the training part, or the recipe wants
            votes that the data set has not.
    """
    data, _ = align(data, recipe.labels)
    labels, held_out_labels = data.train.labels, data.held_out.labels
    if not len(data.train) or not len(data.held_out):
        raise DataError(
            f"{data.name}: {len(data.train)} pictures to train with and {len(data.held_out)} to measure on; give more"
        )
    if labels is None or held_out_labels is None:
        raise DataError(f"{data.name}: training needs labels; put the pictures into folders named like their classes")
    counts = np.bincount(labels, minlength=len(data.labels))
    missing = [name for name, count in zip(data.labels, counts, strict=True) if not count]
    if missing:
        raise DataError(
            f"{data.name}: no picture of {', '.join(missing)} to train with ({data.train_name}); "
            "add some, or leave the class out of the recipe's labels"
        )
    votes, votes_as_labels = None, None
    if recipe.loss.votes or recipe.loss.votes_head:
        if data.train.votes is None:
            raise DataError(f"{data.name}: this recipe learns from crowd votes; {data.no_votes}")
        votes, votes_as_labels = shares(data.train.votes), as_labels(data.train.votes, data.labels)
    return Examples(
        data.name,
        _pictures(data.train, recipe.size),
        labels,
        len(data.labels),
        _pictures(data.held_out, recipe.size),
        held_out_labels,
        data.held_out_name,
        votes,
        votes_as_labels,
    )


def draw(examples: Examples, recipe: Recipe, view: int) -> Views:
    """The chances of one view of all pictures; with a teacher its seed is the bank's."""
    seed = recipe.seed if recipe.distill is None else recipe.distill.seed
    return draw_views(len(examples.images), examples.images.shape[1:], recipe.augment, stream(seed, "views", view))


def stream(seed: int, purpose: Literal["order", "views", "step"], *numbers: int) -> np.random.Generator:
    """A source of chance of its own for each purpose; a trailing zero alone would not tell two of numpy's seeds apart."""
    return np.random.default_rng((seed, {"order": 1, "views": 2, "step": 3}[purpose], *numbers, 1))


def _pictures(split: Split, size: int) -> NDArray[np.uint8]:
    images = split.images
    if isinstance(images, np.ndarray) and images.shape[1:] == (size, size):
        return images
    spec = input_spec(size)
    return np.stack([to_pixels(image, spec)[..., 0] for image in images])
