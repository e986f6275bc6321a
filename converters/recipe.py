"""Recipes: everything that decides a training run, as one frozen TOML file.

A recipe names no paths: the data set is given on the command line, so a recipe is the same on every machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from converters.datasets.augment import Augment
from converters.networks.micro import Micro
from edge.errors import DataError

Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, lt=1)]


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the weights move.

    Attributes:
        epochs: passes over the training part.
        batch: pictures per step.
        learning_rate: peak rate of SGD with Nesterov momentum; linear warm-up, then cosine to zero.
        warmup: share of all steps that the warm-up takes.
        weight_decay: decoupled from the gradient and scaled by the rate, on kernels only (Keras' own definition:
            about ten times the coupled value that papers quote).
        label_smoothing: share of the target spread over all classes.
        ema: decay of the running average of the weights, which is what is evaluated and kept.
        class_power: exponent of inverse class frequency in the loss weights; 0 weighs every picture alike.
    """

    epochs: Count
    batch: Count = 128
    learning_rate: Annotated[float, Meta(gt=0)] = 0.05
    warmup: Share = 0.03
    momentum: Share = 0.9
    weight_decay: Annotated[float, Meta(ge=0)] = 5e-3
    label_smoothing: Share = 0.1
    ema: Share = 0.998
    class_power: Annotated[float, Meta(ge=0)] = 0.0


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One training run: a name, a seed, a network, a schedule and an augmentation."""

    name: str
    seed: int
    network: Micro
    schedule: Schedule
    augment: Augment = Augment()


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        DataError: the file is missing, is not TOML, or has an unknown or mistyped key.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Recipe)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except msgspec.ValidationError as error:
        raise DataError(f"{path}: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not valid TOML ({error})") from None
