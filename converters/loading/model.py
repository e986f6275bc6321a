"""A float network, whatever it came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.quiet import import_tensorflow, quiet
from edge.errors import DataError

BATCH = 128


@dataclass(frozen=True, slots=True)
class FloatModel:
    """The float reference: what every artifact is made from and held against.

    Attributes:
        path: the file or folder it came from.
        loader: what loaded it, for the report.
        batch: pictures of one call; None where any number goes.
        height, width: of the input in pixels; None where the network takes any.
        channels: 1 or 3.
        outputs: number of classes.
        call: a TensorFlow tensor float32 (batch, height, width, channels) -> tensor (batch, outputs).
        keep: what owns the weights; has to live as long as `call` is used.
        rescales: whether mean and scale are layers of the network.
    """

    path: Path
    loader: str
    batch: int | None
    height: int | None
    width: int | None
    channels: int
    outputs: int
    call: Callable[[Any], Any]
    keep: Any
    rescales: bool = False

    def predictor(self) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        """A compiled function: float32 (N, H, W, C) -> the last tensor, float32 (N, outputs)."""
        tf, _ = import_tensorflow()
        with quiet():
            call = tf.function(self.call, reduce_retracing=True)
        size = self.batch or BATCH

        def predict(tensors: NDArray[np.float32]) -> NDArray[np.float32]:
            with quiet():
                parts = [call(tf.constant(tensors[i : i + size])).numpy() for i in range(0, len(tensors), size)]
            return np.concatenate(parts).astype(np.float32) if parts else np.empty((0, self.outputs), np.float32)

        return predict


def check_shapes(path: Path, inputs: Sequence[Sequence[int | None]], outputs: Sequence[Sequence[int | None]]) -> None:
    """Refuse networks that are not one picture -> one vector of scores.

    Raises:
        DataError: another number of inputs or outputs, or other dimensions.
    """
    if len(inputs) != 1 or len(outputs) != 1:
        raise DataError(
            f"{path}: {len(inputs)} inputs and {len(outputs)} outputs; one picture and one vector of scores are expected"
        )
    shape, result = tuple(inputs[0]), tuple(outputs[0])
    if len(shape) != 4:
        raise DataError(f"{path}: takes a tensor of shape {shape}; pictures (N, height, width, channels) are expected")
    if shape[3] not in (1, 3):
        hint = "; it is channels-first, rebuild it channels-last" if shape[1] in (1, 3) else ""
        raise DataError(f"{path}: takes pictures of shape {shape}; 1 or 3 channels in the last place are expected{hint}")
    if shape[0] not in (None, 1):
        raise DataError(f"{path}: takes {shape[0]} pictures at a time; save it with a free batch size or with 1")
    if len(result) != 2 or result[1] is None or result[1] < 2:
        raise DataError(f"{path}: gives a tensor of shape {result}; one score for each of two or more classes is expected")
