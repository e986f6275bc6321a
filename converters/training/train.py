"""One run: recipe + data -> the network with the best averaged weights, resumable after a kill.

The run folder holds `last.keras` (weights, optimizer and step), `best.keras`, `log.csv` and a copy of the recipe.
Each epoch writes `last.keras` under another name and renames it, so a kill at any moment leaves a whole checkpoint.
"""

from __future__ import annotations

import csv
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import msgspec
import numpy as np
from numpy.typing import NDArray

from converters.datasets import Dataset
from converters.networks import build_network
from converters.quiet import quiet
from converters.recipe import Recipe
from converters.training.batches import Batches, normalise
from edge.errors import DataError, first_line


class Epoch(NamedTuple):
    """One line of `log.csv`; accuracies are fractions of the averaged weights, single crop."""

    epoch: int
    loss: float
    train_accuracy: float
    held_out_accuracy: float
    held_out_macro_recall: float
    seconds: float


def train(recipe: Recipe, data: Dataset, folder: Path, report: Callable[[Epoch, int], None], start: Path | None = None) -> Path:
    """Train, or go on where an earlier run in `folder` stopped.

    Args:
        recipe: what to train and how.
        data: gray pictures of one size; the held-out part selects the epoch.
        folder: the run folder; created when missing.
        report: called after each epoch with its line and the number of epochs in all.
        start: a network of the recipe's shape to go on from, such as the shipped one for data of one's own.

    Returns:
        The path of `best.keras`: float32 (N, H, W, 1) in [-1, 1] -> probabilities.

    Raises:
        DataError: the pictures are not gray and of one size, `start` does not fit the recipe, or `folder` holds a run of
            another recipe.
    """
    images, labels = _arrays(data)
    _claim(folder, recipe, start)
    keras.utils.set_random_seed(recipe.seed)
    batches = Batches(images, labels, recipe, len(data.labels))
    run = _Run(folder, data, recipe.schedule.epochs, report)
    if run.last.exists():
        model = keras.models.load_model(run.last)
        # The step counter is what a checkpoint is worth: a line logged after it is trained again.
        run.resume(int(model.optimizer.iterations) // len(batches))
    else:
        model = build_network(recipe.network, (*images.shape[1:], 1), len(data.labels))
        if start is not None:
            _take_weights(model, start)
        _compile(model, recipe, len(batches))
        run.resume(0)
    done = len(run.history)
    if done < recipe.schedule.epochs:
        batches.begin(done)
        # shuffle=False: the batches are shuffled already, by the seed. One fit for all epochs, because its end
        # overwrites the weights with their averages.
        model.fit(batches, initial_epoch=done, epochs=recipe.schedule.epochs, shuffle=False, verbose=0, callbacks=[run])
    return run.best


class _Run(keras.callbacks.Callback):
    """After each epoch: judge the averaged weights, keep the best, write the log, then the checkpoint."""

    def __init__(self, folder: Path, data: Dataset, epochs: int, report: Callable[[Epoch, int], None]) -> None:
        super().__init__()
        self.last, self.best, self._log = folder / "last.keras", folder / "best.keras", folder / "log.csv"
        self.history: list[Epoch] = []
        self._images = normalise(np.asarray(data.held_out.images))
        self._labels = data.held_out.labels
        self._epochs, self._report = epochs, report
        self._start = 0.0
        self._copy: Any = None

    def resume(self, epochs: int) -> None:
        self.history = _read_log(self._log)[:epochs]
        _write_log(self._log, self.history)

    def _average(self) -> Any:
        """A copy of the network that carries the running averages of its trainable weights."""
        if self._copy is None:
            self._copy = keras.models.clone_model(self.model)
        self._copy.set_weights(self.model.get_weights())
        averages = self.model.optimizer._model_variables_moving_average
        for variable, average in zip(self._copy.trainable_variables, averages, strict=True):
            variable.assign(average)
        return self._copy

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002  Keras' signature
        self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None
        assert self._labels is not None
        averaged = self._average()
        accuracy, recall = _score(averaged.predict(self._images, batch_size=512, verbose=0), self._labels)
        if all(accuracy > line.held_out_accuracy for line in self.history):
            _save(averaged, self.best)
        line = Epoch(epoch, logs["loss"], logs["accuracy"], accuracy, recall, time.monotonic() - self._start)
        self.history.append(line)
        _write_log(self._log, self.history)
        _save(self.model, self.last)
        self._report(line, self._epochs)


def _compile(model: Any, recipe: Recipe, steps: int) -> Any:
    plan = recipe.schedule
    total, warmup = plan.epochs * steps, max(1, round(plan.epochs * steps * plan.warmup))
    rate = keras.optimizers.schedules.CosineDecay(0.0, total - warmup, warmup_target=plan.learning_rate, warmup_steps=warmup)
    optimizer = keras.optimizers.SGD(
        rate,
        momentum=plan.momentum,
        nesterov=True,
        weight_decay=plan.weight_decay,
        use_ema=True,
        ema_momentum=plan.ema,
        ema_overwrite_frequency=None,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(label_smoothing=plan.label_smoothing),
        metrics=["accuracy"],
    )
    return model


def _score(probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> tuple[float, float]:
    right = probabilities.argmax(1) == truth
    return float(right.mean()), float(np.mean([right[truth == label].mean() for label in np.unique(truth)]))


def _arrays(data: Dataset) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images, labels = data.train.images, data.train.labels
    if not len(data.train) or not len(data.held_out):
        raise DataError(
            f"{data.name}: {len(data.train)} pictures to train with and {len(data.held_out)} to measure on; give more"
        )
    if labels is None:
        raise DataError(f"{data.name}: training needs labels; put the pictures into folders named like their classes")
    shapes = {image.shape for image in images} | {image.shape for image in data.held_out.images}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise DataError(f"{data.name}: training needs gray pictures of one size, found {sorted(shapes)[:3]}")
    return np.asarray(images), labels


def _take_weights(model: Any, start: Path) -> None:
    try:
        with quiet():
            model.set_weights(keras.models.load_model(start, compile=False).get_weights())
    except (OSError, ValueError) as error:
        raise DataError(f"{start}: not a network of this recipe's shape ({first_line(error, 120)})") from None


def _claim(folder: Path, recipe: Recipe, start: Path | None) -> None:
    """A run folder belongs to one recipe and one start: weights of two must never be mixed."""
    origin = hashlib.sha256(start.read_bytes()).hexdigest() if start else None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: the run folder cannot be made ({error.strerror}); give another --run") from None
    mine, copy = msgspec.json.format(msgspec.json.encode({"recipe": recipe, "start": origin})), folder / "recipe.json"
    trained = (folder / "last.keras").exists()
    if trained and copy.exists() and copy.read_bytes() != mine:
        raise DataError(f"{folder} holds a run of another recipe; give another --run folder or remove it")
    copy.write_bytes(mine)


def _save(model: Any, path: Path) -> None:
    temporary = path.with_name(f"writing-{path.name}")
    with quiet():
        model.save(temporary)
    temporary.replace(path)


def _read_log(path: Path) -> list[Epoch]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [Epoch(int(row[0]), *map(float, row[1:])) for row in list(csv.reader(file))[1:]]


def _write_log(path: Path, history: list[Epoch]) -> None:
    temporary = path.with_name(f"writing-{path.name}")
    with temporary.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(Epoch._fields)
        rows.writerows([line.epoch, *(f"{value:.5f}" for value in line[1:])] for line in history)
    temporary.replace(path)
