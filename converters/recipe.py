"""Recipes: everything that decides a training run, as one frozen TOML file.

A recipe names no paths: the data set is given on the command line, so a recipe is the same on every machine.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from converters.datasets import FER2013_LABELS
from converters.datasets.augment import Augment
from converters.networks import Given, Network
from edge.config import nearest
from edge.errors import DataError

Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, lt=1)]
Seed = Annotated[int, Meta(ge=0, lt=2**32)]
# Of a folder and of files.
Name = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Precision = Literal["float32", "bfloat16"]
# In msgspec's words; without a place it is the recipe itself.
UNKNOWN = re.compile(r"Object contains unknown field `([^`]+)`(?: - at `\$\.(\w+)`)?")


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the weights move.

    Attributes:
        epochs: passes over the training part.
        batch: pictures per step.
        learning_rate: peak rate of SGD with Nesterov momentum; linear warm-up, then cosine to zero.
        warmup: share of all steps that the warm-up takes.
        weight_decay: decoupled from the gradient and scaled by the rate, on kernels only (Keras' own definition:
            about ten times the coupled value that papers quote).
        ema: decay of the running average of the weights, which is what is evaluated and kept; less in a run so short that
            the average would look back over more than a tenth of it.
        sampling: "plain" takes each picture once an epoch (but for the rest that fills no batch), "balanced" draws each
            class equally often.
        precision: what layers compute in; "bfloat16" is 1.2 to 1.4 times faster for dense networks on AVX512 and slower
            for depthwise ones. Weights, logits and what is kept are float32 in both.
    """

    epochs: Count
    batch: Count = 128
    learning_rate: Annotated[float, Meta(gt=0)] = 0.05
    warmup: Share = 0.03
    momentum: Share = 0.9
    weight_decay: Annotated[float, Meta(ge=0)] = 5e-3
    ema: Share = 0.998
    sampling: Literal["plain", "balanced"] = "plain"
    precision: Precision = "float32"


class Loss(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is minimised.

    Attributes:
        label_smoothing: share of the target spread over all classes.
        gamma: focusing exponent of the focal loss (Lin et al. 2017, arXiv:1708.02002); 0 is cross entropy.
        alpha: exponent of inverse class frequency in the weights of the loss; 0 weighs every picture alike. (The focal
            loss' own alpha is such a weight, of one class out of two.)
        votes: share of the target that crowd votes (FER+) take from the label, where a picture has any.
        votes_head: weight of a second head that learns the crowd's votes from the same features; it is thrown away
            after training. The votes agree with FER2013's labels on 63 % only: as a second task they teach the
            features without moving the target.
    """

    label_smoothing: Share = 0.1
    gamma: Annotated[float, Meta(ge=0)] = 0.0
    alpha: Annotated[float, Meta(ge=0)] = 0.0
    votes: Annotated[float, Meta(ge=0, le=1)] = 0.0
    votes_head: Annotated[float, Meta(ge=0)] = 0.0


class Distill(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a student learns from teachers (Hinton et al. 2015, arXiv:1503.02531).

    Attributes:
        temperature: T, which softens teacher and student alike.
        weight: of T^2 * KL(teacher || student); the cross entropy on the label has the rest.
        views: augmented views of each picture that the bank of the teachers' logits holds; epoch e uses view e mod `views`.
        seed: of the views; apart from the recipe's own, so that students of other seeds share one bank.
        precision: what the teachers compute in; see Schedule. Their answers are kept as float16 anyway.
    """

    temperature: Annotated[float, Meta(gt=0)] = 3.0
    weight: Annotated[float, Meta(ge=0, le=1)] = 0.8
    views: Count = 20
    seed: Seed = 1
    precision: Precision = "float32"


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One training run.

    Attributes:
        name: of the run folder and of what comes out of it.
        seed: of every choice by chance.
        network: what is trained; see converters/networks.
        schedule, loss, augment, distill: how; `distill` is what edge-distill needs beside its teachers.
        size: side in pixels of the square gray picture that the network takes; others are resized as the device does it.
        labels: class names in the order of the outputs.
    """

    name: Name
    seed: Seed
    network: Network
    schedule: Schedule
    loss: Loss = Loss()
    augment: Augment = Augment()
    distill: Distill | None = None
    size: Annotated[int, Meta(ge=16, le=512)] = 48
    labels: Annotated[tuple[str, ...], Meta(min_length=2)] = FER2013_LABELS

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"a label stands twice in {', '.join(self.labels)}")
        if isinstance(self.network, Given) and self.schedule.precision != "float32":
            raise ValueError("a given network computes in its own precision; leave precision out of [schedule]")


SECTIONS: dict[str, type[msgspec.Struct]] = {"schedule": Schedule, "loss": Loss, "augment": Augment, "distill": Distill}


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
        raise DataError(f"{path}: {_plain(str(error))}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not valid TOML ({error})") from None


def _plain(error: str) -> str:
    """An unknown key by its name, with what it may have been meant for; any other mistake in msgspec's words."""
    found = UNKNOWN.match(error)
    if found is None:
        return error
    key, section = found.groups()
    if section is None:
        return f"{key} is not a key{nearest(key, Recipe.__struct_fields__)}"
    known = SECTIONS[section].__struct_fields__ if section in SECTIONS else ()
    return f"{section}.{key} is not a key{nearest(key, known) if known else ' of this family'}"
