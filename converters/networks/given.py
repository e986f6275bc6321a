"""A network that is not built here but given as a file: the one of edge-train --start, a teacher, or one that was pruned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from converters.describe import read_sidecar
from edge.errors import DataError, first_line


class Given(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="given", tag_field="family"):
    """No settings: the file decides."""


def load_given(path: Path | None, input_shape: tuple[int, int, int], labels: Sequence[str]) -> Any:
    """Load a network: float32 (N, H, W, C) in [-1, 1] -> probabilities float32 (N, len(labels)).

    Raises:
        DataError: there is no file, it is no Keras model, its shapes are others, it gives no probabilities, or the .toml
            beside it tells of other labels or another range of pixels.
    """
    import keras

    from converters.quiet import quiet

    if path is None:
        raise DataError('family = "given" trains a network that exists; give it with --start model.keras')
    try:
        with quiet():
            network = keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: not a Keras model that can be used here ({first_line(error, 120)})") from None
    shape, result = tuple(network.input_shape[1:]), tuple(network.output_shape[1:])
    if shape != input_shape or result != (len(labels),):
        raise DataError(
            f"{path}: takes {shape} and gives {result}; the recipe wants {input_shape} -> {(len(labels),)}, "
            "by its size and labels"
        )
    _check_contract(path, labels)
    noise = np.random.default_rng(0).uniform(-1, 1, (4, *input_shape)).astype(np.float32)
    answers = np.asarray(network.predict(noise, verbose=0), np.float32)
    if not (answers.min() >= 0 and np.allclose(answers.sum(axis=1), 1, atol=0.01)):
        raise DataError(f"{path}: gives logits, not probabilities; add a softmax as its last layer and save it again")
    if any(layer.dtype_policy.name != "float32" for layer in network.layers):
        network = in_precision(network, "float32")
    network.trainable = True
    return network


def in_precision(network: Any, policy: str) -> Any:
    """The same network with another of Keras' dtype policies; `logits` and `probabilities` stay float32."""
    import keras

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        config["dtype"] = "float32" if layer.name in {"logits", "probabilities"} else policy
        return layer.__class__.from_config(config)

    copy = keras.models.clone_model(network, clone_function=clone)
    copy.set_weights(network.get_weights())
    return copy


def _check_contract(path: Path, labels: Sequence[str]) -> None:
    said = read_sidecar(path)
    if said.labels is not None and said.labels != tuple(labels):
        raise DataError(
            f"{path}: its .toml says {', '.join(said.labels)}; the recipe's labels are {', '.join(labels)}, in this order"
        )
    if said.mean is not None and said.scale is not None:
        low, high = ((pixel - said.mean[0]) * said.scale[0] for pixel in (0, 255))
        if abs(low + 1) > 0.02 or abs(high - 1) > 0.02:
            raise DataError(
                f"{path}: its .toml says that it takes pixels in [{low:g}, {high:g}]; networks are trained in [-1, 1] here"
            )
