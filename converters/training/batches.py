"""Batches of augmented views with their targets, the same for the same seed whatever the backend."""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray

from converters.datasets.augment import make_views
from converters.datasets.faults import add_faults, overexpose
from converters.datasets.mix import mix
from converters.recipe import Recipe
from converters.training.bank import Bank
from converters.training.examples import Examples, draw, normalise, stream

Arrays = tuple[NDArray[np.float32], ...]


class Batches(keras.utils.PyDataset):
    """Epochs of shuffled, augmented batches: (pictures, targets by output, weights by output).

    Batch `i` of epoch `e` depends on (seed, e, i) alone, so a run that is resumed sees what it would have seen. With a
    bank, epoch `e` shows view `e mod views`, of which the bank knows the teachers' answers.
    """

    def __init__(self, examples: Examples, recipe: Recipe, bank: Bank | None = None) -> None:
        super().__init__(workers=2, use_multiprocessing=False, max_queue_size=16)
        self._examples, self._recipe, self._bank = examples, recipe, bank
        self._targets = _targets(examples, recipe)
        frequency = np.maximum(np.bincount(examples.labels, minlength=examples.classes), 1) / len(examples.labels)
        weight = frequency**-recipe.loss.alpha
        # Mean weight over the data is one, so that the learning rate keeps its meaning.
        self._weights = (weight / (weight * frequency).sum()).astype(np.float32)[examples.labels]
        self.begin(0)

    def on_epoch_end(self) -> None:
        self.begin(self._epoch + 1)

    def begin(self, epoch: int) -> None:
        """Go to an epoch; a resumed run calls this once."""
        self._epoch = epoch
        self._view = epoch if self._bank is None else epoch % self._bank.views
        self._views = draw(self._examples, self._recipe, self._view)
        self._order = self._shuffled(stream(self._recipe.seed, "order", epoch))

    def _shuffled(self, rng: np.random.Generator) -> NDArray[np.int64]:
        labels = self._examples.labels
        if self._recipe.schedule.sampling == "plain":
            return rng.permutation(len(labels))
        chance = 1 / np.bincount(labels, minlength=self._examples.classes)[labels]
        return rng.choice(len(labels), len(labels), p=chance / chance.sum())

    def __len__(self) -> int:
        return max(1, len(self._examples.images) // self._recipe.schedule.batch)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], Arrays, Arrays]:
        recipe, examples = self._recipe, self._examples
        rows = self._order[index * recipe.schedule.batch : (index + 1) * recipe.schedule.batch]
        rng = stream(recipe.seed, "step", self._epoch, index)
        views = overexpose(make_views(examples.images, rows, self._views), recipe.augment.overexposed, rng)
        views = add_faults(views, recipe.augment.faults, rng)
        target = self._targets[rows]
        if self._bank is not None:
            assert recipe.distill is not None
            target = np.concatenate([target, self._bank.softened(self._view, rows, recipe.distill.temperature)], axis=1)
        goals = [(target, self._weights[rows])]
        if recipe.loss.votes_head:
            assert examples.votes is not None
            goals.append((examples.votes[rows], examples.votes[rows].any(axis=1).astype(np.float32)))
        views, goals = mix(views, goals, recipe.augment, rng)
        return normalise(views), tuple(target for target, _ in goals), tuple(weight for _, weight in goals)


def _targets(examples: Examples, recipe: Recipe) -> NDArray[np.float32]:
    """The label, softened by the crowd's votes where there are any and by label smoothing: float32 (N, classes)."""
    targets = np.eye(examples.classes, dtype=np.float32)[examples.labels]
    if recipe.loss.votes:
        assert examples.votes_as_labels is not None
        known = examples.votes_as_labels.any(axis=1)
        targets[known] += np.float32(recipe.loss.votes) * (examples.votes_as_labels[known] - targets[known])
    smoothing = np.float32(recipe.loss.label_smoothing)
    return targets * (1 - smoothing) + smoothing / examples.classes
