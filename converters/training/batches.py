"""Batches of augmented views, the same bits for the same seed on every machine."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from converters.datasets.augment import augment_batch, mix
from converters.recipe import Recipe
from edge.emotion.manifest import InputSpec
from edge.emotion.preprocess import to_tensor


def normalise(images: NDArray[Any]) -> NDArray[np.float32]:
    """The contract of every network trained here, by edge's own code: (N, H, W) in 0..255 -> float32 (N, H, W, 1) in [-1, 1]."""
    height, width = images.shape[1:]
    spec = InputSpec(height=height, width=width, channels=1, color="gray", mean=(127.5,), scale=(1 / 127.5,))
    return to_tensor(images[..., None], spec)


class Batches(keras.utils.PyDataset):
    """Epochs of shuffled, augmented batches. Batch `i` of epoch `e` depends on (seed, e, i) alone, so a run that
    is resumed sees what it would have seen.
    """

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64], recipe: Recipe, classes: int) -> None:
        super().__init__(workers=2, use_multiprocessing=False, max_queue_size=16)
        self._images, self._labels, self._recipe = images, labels, recipe
        self.begin(0)
        self._targets = np.eye(classes, dtype=np.float32)
        frequency = np.maximum(np.bincount(labels, minlength=classes), 1) / max(len(labels), 1)
        weight = frequency**-recipe.schedule.class_power
        # Mean weight over the data is one, so that the learning rate keeps its meaning.
        self._weights = (weight / (weight * frequency).sum()).astype(np.float32)

    def on_epoch_end(self) -> None:
        self.begin(self._epoch + 1)

    def begin(self, epoch: int) -> None:
        """Go to an epoch; a resumed run calls this once."""
        self._epoch = epoch
        self._order = np.random.default_rng((self._recipe.seed, epoch)).permutation(len(self._images))

    def __len__(self) -> int:
        return max(1, len(self._images) // self._recipe.schedule.batch)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        size = self._recipe.schedule.batch
        rows = self._order[index * size : (index + 1) * size]
        rng = np.random.default_rng((self._recipe.seed, self._epoch, index))
        views = augment_batch(self._images[rows], self._recipe.augment, rng)
        targets = self._targets[self._labels[rows]]
        views, targets = mix(views, targets, self._recipe.augment.mixup, rng)
        return normalise(views), targets, targets @ self._weights
