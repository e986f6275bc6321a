"""What happens after each epoch: judge the averaged weights, keep the best, save the checkpoint, write the log."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from converters.training.examples import Examples, normalise
from converters.training.run import Epoch, Run
from edge.errors import DataError

Report = Callable[[Epoch, int], None]
Step = Callable[[int, int], None]


class Keeper(keras.callbacks.Callback):
    """Watches one `fit` of the whole run.

    Args:
        run: the folder.
        network: what is trained, up to its probabilities.
        averaged: the same network in float32, overwritten each epoch.
        examples: the held-out part is judged.
        epochs, steps: of the whole run, and of one epoch.
        report, step: see `train`.
    """

    def __init__(
        self, run: Run, network: Any, averaged: Any, examples: Examples, epochs: int, steps: int, report: Report, step: Step
    ) -> None:
        super().__init__()
        self._run, self._network, self._averaged = run, network, averaged
        self._tensors, self._truth = normalise(examples.held_out), examples.held_out_labels
        self._epochs, self._steps, self._report, self._step = epochs, steps, report, step
        self._began, self._epoch = 0.0, 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002  Keras' signature
        self._began, self._epoch = time.monotonic(), epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        # Keras gives the mean of the epoch so far, which stays NaN once it is.
        if logs is not None and not math.isfinite(logs["loss"]):
            epochs = len(self._run.history)
            kept = (
                f"{self._run.last} holds the last good checkpoint, of epoch {epochs}" if epochs else "there is no checkpoint yet"
            )
            raise DataError(
                f"epoch {self._epoch + 1}: the loss is not a number any more; {kept}. "
                "Lower learning_rate, and train in another --run folder"
            )
        self._step(self._epoch * self._steps + batch + 1, self._epochs * self._steps)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None
        averaged = self._average()
        held_out, recall = _score(averaged.predict(self._tensors, batch_size=512, verbose=0), self._truth)
        if held_out > self._run.best_so_far:
            self._run.keep(averaged.save, self._run.best)
        learned = next(value for name, value in logs.items() if name.endswith("accuracy"))
        line = Epoch(epoch, logs["loss"], learned, held_out, recall, time.monotonic() - self._began)
        # The line first: a line too many is cut when the run goes on, a checkpoint without its line could not.
        self._run.add(line)
        self._run.keep(self.model.save_weights, self._run.last)
        self._report(line, self._epochs)

    def _average(self) -> Any:
        """The network with the running averages of its trainable weights, and batch statistics as they are."""
        self._averaged.set_weights(self._network.get_weights())
        averages = self.model.optimizer._model_variables_moving_average
        of = {id(mine): average for mine, average in zip(self.model.trainable_variables, averages, strict=True)}
        for copy, mine in zip(self._averaged.trainable_variables, self._network.trainable_variables, strict=True):
            # As numpy: on JAX an array that two variables share is gone once one of them was used.
            copy.assign(np.asarray(of[id(mine)]))
        return self._averaged


def _score(probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> tuple[float, float]:
    right = probabilities.argmax(1) == truth
    return float(right.mean()), float(np.mean([right[truth == label].mean() for label in np.unique(truth)]))
