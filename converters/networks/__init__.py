"""The networks that this project trains: one file, one family, each for every backend of Keras 3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.networks.given import Given, load_given
from converters.networks.micro import Micro, build_micro
from converters.networks.mobilenet import MobileNet, build_mobilenet
from converters.networks.resnet import ResNet, build_resnet

__all__ = ["Given", "Micro", "MobileNet", "Network", "ResNet", "build_network"]

Network = Given | Micro | MobileNet | ResNet


def build_network(settings: Network, input_shape: tuple[int, int, int], classes: int, given: Path | None = None) -> Any:
    """Build the Keras model that the settings describe: image in [-1, 1] -> class probabilities.

    Args:
        settings: of one family.
        input_shape: height, width, channels.
        classes: how many probabilities.
        given: the file of a `given` network; the other families do not look at it.

    Raises:
        DataError: a given network is missing or does not fit.
    """
    match settings:
        case Given():
            return load_given(given, input_shape, classes)
        case Micro():
            return build_micro(settings, input_shape, classes)
        case MobileNet():
            return build_mobilenet(settings, input_shape, classes)
        case ResNet():
            return build_resnet(settings, input_shape, classes)
