"""The networks that this project trains: one file, one family."""

from __future__ import annotations

from typing import Any

from converters.networks.micro import Micro, build_micro

__all__ = ["Micro", "build_micro", "build_network"]


def build_network(settings: Micro, input_shape: tuple[int, int, int], classes: int) -> Any:
    """Build the Keras model that the settings describe: image in [-1, 1] -> class probabilities."""
    match settings:
        case Micro():
            return build_micro(settings, input_shape, classes)
