"""The networks that this project trains: one file, one family, each for every backend of Keras 3."""

from __future__ import annotations

from typing import Any

from converters.networks.given import Given
from converters.networks.micro import Micro, build_micro
from converters.networks.mobilenet import MobileNet, build_mobilenet
from converters.networks.resnet import ResNet, build_resnet

__all__ = ["Given", "Micro", "MobileNet", "Network", "ResNet", "build_network"]

Built = Micro | MobileNet | ResNet
Network = Built | Given


def build_network(settings: Built, input_shape: tuple[int, int, int], classes: int) -> Any:
    """Build the Keras model that the settings describe: image in [-1, 1] -> class probabilities."""
    match settings:
        case Micro():
            return build_micro(settings, input_shape, classes)
        case MobileNet():
            return build_mobilenet(settings, input_shape, classes)
        case ResNet():
            return build_resnet(settings, input_shape, classes)
