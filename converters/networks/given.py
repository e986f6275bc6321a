"""A network that is not built here but given as a file: the one of edge-train --start, or one that was pruned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edge.errors import DataError, first_line


class Given(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="given", tag_field="family"):
    """No settings: the file decides."""


def load_given(path: Path | None, input_shape: tuple[int, int, int], classes: int) -> Any:
    """Load the network: float32 (N, H, W, C) in [-1, 1] -> probabilities float32 (N, classes).

    Raises:
        DataError: there is no file, it is no Keras model, or its shapes are others.
    """
    import keras

    from converters.quiet import quiet

    if path is None:
        raise DataError('family = "given" trains a network that exists; give it with --start model.keras')
    try:
        with quiet():
            network = keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: not a Keras model that can be trained ({first_line(error, 120)})") from None
    shape, result = network.input_shape, network.output_shape
    if tuple(shape[1:]) != input_shape or tuple(result[1:]) != (classes,):
        raise DataError(
            f"{path}: takes {shape[1:]} and gives {result[1:]}; the recipe trains {input_shape} -> ({classes},). "
            "Set size and labels in the recipe"
        )
    network.trainable = True
    return network
