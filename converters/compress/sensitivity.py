"""Where INT8 hurts: the noise at every layer, and what each layer alone does to the network's answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from calibration.noise import SILENT, Noise
from converters.compress.activations import watch_tflite
from converters.compress.flatbuffer import Operator, operators
from converters.compress.names import unique
from converters.compress.quantize import MOVING
from converters.progress import Progress

Pictures = Sequence[NDArray[np.float32]]


class LayerNoise(msgspec.Struct, frozen=True):
    """One layer of an INT8 network.

    Attributes:
        layer: the Keras layer's name. kind: TFLite's operator.
        here_db: signal to quantization noise at its output, with all layers before it in INT8.
        alone_db: the same at the network's answer when only this layer is INT8; null where it was not measured.
        in_float: whether it was left in float.
    """

    layer: str
    kind: str
    here_db: float
    alone_db: float | None = None
    in_float: bool = False


def layers_of(content: bytes) -> dict[str, Operator]:
    """The operators of a float .tflite that compute, by a name for people, in the order in which they run."""
    computing = [operator for operator in operators(content) if operator.kind not in MOVING]
    return dict(zip(unique(operator.layer for operator in computing), computing, strict=True))


def noise_at_layers(exact: bytes, changed: bytes, pictures: Iterable[NDArray[np.float32]]) -> dict[str, float]:
    """Signal to quantization noise at the output of every layer that gives any signal, in dB.

    Args:
        exact: the float .tflite.
        changed: what was made of it; its tensors have the names that they had.
        pictures: float32 (1, H, W, C) each.
    """
    names = {operator.tensor: name for name, operator in layers_of(exact).items()}
    noises = {tensor: Noise() for tensor in names}
    before, after = watch_tflite(exact), watch_tflite(changed)
    for picture in pictures:
        left, right = before(picture), after(picture)
        for tensor, noise in noises.items():
            if tensor in left and tensor in right:
                noise.add(left[tensor], right[tensor])
    found = {names[tensor]: noise.sqnr_db for tensor, noise in noises.items()}
    return {name: level for name, level in found.items() if level is not None}


def alone(
    layers: Sequence[str], answer: Callable[[Sequence[str] | None], NDArray[np.float32]], progress: Progress
) -> dict[str, float]:
    """For every layer: signal to noise of the network's answer when this layer alone is INT8, in dB; the worst first.

    Noises of layers add up where they are small, so the layers at the head of the list are those that are worth leaving
    in float.

    Args:
        layers: their names.
        answer: what the network says, float32 (N, classes), with these layers in float; None is the float network.
        progress: see `Progress`.
    """
    truth, found = answer(None), {}
    for name in progress(list(layers), "each layer alone"):
        noise = Noise()
        noise.add(truth, answer([other for other in layers if other != name]))
        level = noise.sqnr_db
        found[name] = SILENT if level is None else level
    return dict(sorted(found.items(), key=lambda item: item[1]))


def describe(
    here: Mapping[str, float], alone_db: Mapping[str, float], content: bytes, kept: Collection[str]
) -> tuple[LayerNoise, ...]:
    """Everything that is known of the layers, in the order in which they run."""
    return tuple(
        LayerNoise(name, operator.kind, round(here[name], 1), _rounded(alone_db.get(name)), name in kept)
        for name, operator in layers_of(content).items()
        if name in here
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
