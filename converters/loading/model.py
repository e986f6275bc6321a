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


Shape = tuple[int | None, ...]
# (batch, height, width, channels) of an input; None where any number goes.
Picture = tuple[int | None, int | None, int | None, int]


def choose_output(path: Path, outputs: Sequence[tuple[str, Shape]], wanted: str | int | None) -> int:
    """Which output holds the scores.

    Args:
        path: of the file, for the message.
        outputs: their names and shapes.
        wanted: a name or a number from 0; None where nobody has said.

    Returns:
        Its number.

    Raises:
        DataError: there is no such output, or there are several and nobody has said which.
    """
    names = [name for name, _ in outputs]
    if wanted is None and len(outputs) == 1:
        return 0
    if wanted is not None:
        if str(wanted) in names:
            return names.index(str(wanted))
        if str(wanted).isdecimal() and int(wanted) < len(outputs):
            return int(wanted)
    listed = ", ".join(f"{number} {name} {_text(shape)}" for number, (name, shape) in enumerate(outputs))
    if wanted is None:
        raise DataError(f"{path}: has {len(outputs)} outputs; say which holds the scores, by --output NAME or number: {listed}")
    raise DataError(f"{path}: has no output {wanted}; --output takes a name or number of these: {listed}")


def settle_input(path: Path, inputs: Sequence[Shape], shape: Sequence[int] | None) -> Picture:
    """The shape of the one input, with what a person says where the network takes any.

    Args:
        path: of the file, for the message.
        inputs: the shapes of all inputs.
        shape: height, width and maybe channels that were given.

    Returns:
        The input, whose channels are known.

    Raises:
        DataError: the network takes something else than one picture, or one of another shape than the given one.
    """
    if len(inputs) != 1:
        raise DataError(f"{path}: has {len(inputs)} inputs; one picture is expected, so save a model of that input alone")
    found = tuple(inputs[0])
    if len(found) != 4:
        raise DataError(
            f"{path}: takes a tensor of shape {_text(found)}; pictures (N, height, width, channels) are expected, "
            "so put a Reshape in front of it and save it again"
        )
    if shape is not None:
        clash = any(mine not in (None, given) for mine, given in zip(found[1:], shape, strict=False))
        if clash:
            raise DataError(f"{path}: takes pictures of {_text(found[1:])}, not {_text(tuple(shape))}; leave --shape out")
        found = (found[0], *shape, *found[1 + len(shape) :])
    if found[3] is None:
        raise DataError(f"{path}: does not say how many channels it takes; say it: --shape 48x48x1")
    if found[3] not in (1, 3):
        hint = (
            "it is channels-first, rebuild it channels-last"
            if found[1] in (1, 3)
            else "save a network of gray or colour pictures"
        )
        raise DataError(f"{path}: takes pictures of {_text(found[1:])}; 1 or 3 channels in the last place are expected; {hint}")
    if found[0] not in (None, 1):
        raise DataError(f"{path}: takes {found[0]} pictures at a time; save it with a free batch size or with 1")
    return found[0], found[1], found[2], found[3]


def check_output(path: Path, shape: Shape) -> int:
    """The number of classes.

    Raises:
        DataError: the output is no vector of scores.
    """
    if len(shape) != 2 or shape[1] is None or shape[1] < 2:
        raise DataError(
            f"{path}: gives a tensor of shape {_text(shape)}; one score for each of two or more classes is expected, "
            "so end it with a pooling and a Dense layer of that many units"
        )
    return shape[1]


def _text(shape: Shape) -> str:
    return "x".join("?" if length is None else str(length) for length in shape) or "()"


def keras_of(model: FloatModel) -> Any:
    """The Keras model behind a float network; None where it came through a SavedModel, which holds operations and no layers."""
    _, keras = import_tensorflow()
    owner = model.keep[0] if isinstance(model.keep, tuple) else model.keep
    return owner if isinstance(owner, keras.Model) else None
