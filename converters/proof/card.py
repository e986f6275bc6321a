"""A model's card: by what protocol it was measured, what came out, what it costs, what it is for and what it is not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from calibration.temperature import at_temperature
from converters.proof.evaluate import Confidence, Quality, evaluate
from converters.proof.report import FileFacts
from edge.emotion.manifest import InputSpec
from edge.errors import DataError

FORMAT = 1
SINGLE_CROP = "single crop, no test-time augmentation"

DATA_LICENCES = {"FER2013": "FER2013 (Goodfellow et al. 2013): offered by Kaggle for research"}
UNKNOWN_LICENCE = "not known here; clear it before the weights are passed on"


class Network(msgspec.Struct, frozen=True):
    """The network that was measured.

    Attributes:
        file: what was given to measure.
        loader: what ran it.
        quantization: `float32` for a Keras file, else the manifest's.
        bytes: of its .tflite; for a Keras file of the float32 one that is made of it. None where TFLite cannot take it.
        parameters: numbers that it stores; None where its layers cannot be seen.
        macs: multiply-accumulates of one picture, or None.
        latency_ms: median of single calls on one thread through LiteRT, on a machine of this architecture.
    """

    name: str
    version: str
    file: FileFacts
    loader: str
    quantization: str
    labels: tuple[str, ...]
    input: InputSpec
    preprocessing: str
    bytes: int | None
    parameters: int | None
    macs: int | None
    latency_ms: float | None
    machine: str


class Protocol(msgspec.Struct, frozen=True):
    """What it was measured on and how: data set, split, number of pictures and the sha256 of their pixels."""

    data: str
    split: str
    rows: int
    sha256: str
    crops: str = SINGLE_CROP


class Training(msgspec.Struct, frozen=True):
    """The run that made the weights: tool, recipe, seed, and the epoch that was kept (counted from 1; None without a log)."""

    tool: str
    recipe: str
    seed: int | None
    epoch: int | None
    epochs: int | None

    @property
    def selection(self) -> str:
        if self.epoch is None:
            return "not known: no log beside the recipe"
        return f"epoch {self.epoch} of {self.epochs}, the best on the held-out part by its averaged weights, single crop"


class Deduplicated(msgspec.Struct, frozen=True):
    """The figure without the rows whose pixels occur in the training part."""

    removed: int
    rows: int
    accuracy: float
    standard_error: float


class Card(msgspec.Struct, frozen=True):
    """Everything about one measured network; figures are fractions.

    Attributes:
        training: None where nothing tells how the weights came about.
        deduplicated: None where the rows are those of the training part itself.
        flip_average: accuracy of the mean of each picture and its mirror image, when asked for; never the main figure.
        confusion: rows of each true class (first index) that were taken for each class (second).
    """

    format: int
    at: str
    command: str
    network: Network
    protocol: Protocol
    training: Training | None
    accuracy: float
    standard_error: float
    deduplicated: Deduplicated | None
    flip_average: float | None
    macro_f1: float
    recall: dict[str, float | None]
    precision: dict[str, float | None]
    confusion: list[list[int]]
    confidence: Confidence
    data_licence: str
    versions: dict[str, str]
    notes: tuple[str, ...]


def card(
    network: Network,
    protocol: Protocol,
    scores: NDArray[np.float32],
    truth: NDArray[np.int64],
    confidence: Confidence,
    provenance: tuple[str, str, dict[str, str]],
    training: Training | None = None,
    twins: NDArray[np.bool_] | None = None,
    mirrored: NDArray[np.float32] | None = None,
    notes: Sequence[str] = (),
) -> Card:
    """Put a card together.

    Args:
        network: what was measured.
        protocol: on what.
        scores: float32 (N, classes) at temperature 1, N > 0.
        truth: int64 (N,).
        confidence: of these scores.
        provenance: time, command and versions.
        training: the run behind the weights.
        twins: bool (N,), rows that are in the training part too; None where that says nothing.
        mirrored: float32 (N, classes), scores of the mirror images.
        notes: how to read the figures.
    """
    quality = evaluate(scores.argmax(axis=1), truth, len(network.labels))
    at, command, versions = provenance
    return Card(
        format=FORMAT,
        at=at,
        command=command,
        network=network,
        protocol=protocol,
        training=training,
        accuracy=quality.accuracy,
        standard_error=quality.standard_error,
        deduplicated=None if twins is None else _without(twins, scores, truth),
        flip_average=None if mirrored is None else _flip_average(scores, mirrored, truth, confidence.temperature),
        macro_f1=quality.macro_f1,
        recall=_by_label(network.labels, quality.recall),
        precision=_by_label(network.labels, quality.precision),
        confusion=quality.confusion.tolist(),
        confidence=confidence,
        data_licence=DATA_LICENCES.get(protocol.data, UNKNOWN_LICENCE),
        versions=versions,
        notes=tuple(notes),
    )


def duplicates_of(train: Sequence[NDArray[np.uint8]], held_out: Sequence[NDArray[np.uint8]]) -> NDArray[np.bool_]:
    """Which held-out pictures are, pixel for pixel, pictures of the training part: bool (len(held_out),)."""
    known = {_fingerprint(picture) for picture in train}
    return np.array([_fingerprint(picture) in known for picture in held_out], np.bool_)


def training_of(recipe: Path) -> Training:
    """Read what made the weights.

    Args:
        recipe: a recipe's TOML with its log beside it under the same name (recipes/micro.csv), or the `recipe.json` of a
            run's folder, whose log is `log.csv`.

    Raises:
        DataError: it cannot be read, or is no recipe.
    """
    written = recipe.suffix == ".toml"
    try:
        content = recipe.read_bytes()
        found = msgspec.toml.decode(content) if written else msgspec.json.decode(content)
        made = msgspec.convert(found.get("recipe", found), _Recipe)
        accuracies = _accuracies(recipe.with_suffix(".csv") if written else recipe.with_name("log.csv"))
    except OSError as error:
        raise DataError(f"{recipe}: cannot be read ({error.strerror})") from None
    except (ValueError, AttributeError, IndexError) as error:
        raise DataError(f"{recipe}: not a recipe with its log beside it ({error})") from None
    epoch = 1 + int(np.argmax(accuracies)) if accuracies else None
    return Training("edge-train" if made.distill is None else "edge-distill", made.name, made.seed, epoch, made.schedule.epochs)


class _Schedule(msgspec.Struct):
    epochs: int


class _Recipe(msgspec.Struct):
    """What a card tells of a recipe, of this version or of an older one."""

    name: str
    schedule: _Schedule
    seed: int | None = None
    distill: dict[str, Any] | None = None


def _accuracies(log: Path) -> list[float]:
    if not log.is_file():
        return []
    header, *lines = log.read_text().splitlines()
    column = header.split(",").index("held_out_accuracy")
    return [float(line.split(",")[column]) for line in lines]


def _by_label(labels: Sequence[str], values: Sequence[float | None]) -> dict[str, float | None]:
    return dict(zip(labels, values, strict=True))


def _without(twins: NDArray[np.bool_], scores: NDArray[np.float32], truth: NDArray[np.int64]) -> Deduplicated | None:
    if twins.all():
        return None
    quality: Quality = evaluate(scores[~twins].argmax(axis=1), truth[~twins], scores.shape[1])
    return Deduplicated(int(twins.sum()), int((~twins).sum()), quality.accuracy, quality.standard_error)


def _flip_average(
    scores: NDArray[np.float32], mirrored: NDArray[np.float32], truth: NDArray[np.int64], temperature: float
) -> float:
    mean = at_temperature(scores, temperature) + at_temperature(mirrored, temperature)
    return float((mean.argmax(axis=1) == truth).mean())


def _fingerprint(picture: NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(f"{picture.shape}".encode() + picture.tobytes()).digest()
