"""The whole way from a model file and labelled pictures to its card: open, read, measure, explain, write."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from calibration.temperature import at_temperature
from converters.compress.samples import prepare
from converters.datasets import Split, open_dataset, require
from converters.datasets.align import align
from converters.describe import NOTHING_GIVEN, Description, read_sidecar
from converters.load import NO_HELP, Loading
from converters.outputs import check_free, write_all
from converters.progress import Progress
from converters.proof.card import Card, Protocol, Training, card, duplicates_of, training_of
from converters.proof.charts import confusion_chart
from converters.proof.evaluate import Confidence, confidence
from converters.proof.explain import GradCam, explain
from converters.proof.prose import markdown
from converters.proof.provenance import digest, versions
from converters.proof.report import confidence_notes
from converters.proof.subject import Original, Subject, open_artifact, open_original, settle
from edge.clock import rfc3339
from edge.emotion.preprocess import to_tensor
from edge.errors import DataError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    Attributes:
        model: a .tflite with its manifest beside it, a Keras file or a SavedModel folder.
        data: a data set with labels.
        folder: where files go.
        split: `public` is the part to measure on (FER2013's PublicTest, a folder's fifth), `training` the other.
        flip: measure the mean of picture and mirror image too.
        explain: samples of each class to explain, right ones and as many wrong ones; 0 is none.
        card: write the card.
        recipe: see `converters.proof.card.training_of`; looked for beside a `best.keras`.
        given: what flags say about a Keras file.
        seed: of the choice of samples, and of rows to try a preprocessing with.
        force: replace files that are there.
        loading: see `converters.load.load_model`.
        command: for the card.
    """

    model: Path
    data: Path
    folder: Path
    split: Literal["public", "training"] = "public"
    flip: bool = False
    explain: int = 0
    card: bool = False
    recipe: Path | None = None
    given: Description = NOTHING_GIVEN
    seed: int = 0
    force: bool = False
    loading: Loading = NO_HELP
    command: str = ""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came out: the card, what is doubtful, and the files that were written."""

    card: Card
    warnings: tuple[str, ...]
    written: tuple[Path, ...]


def evaluate_model(request: Request, progress: Progress) -> Evaluation:
    """Measure a network, and write what was asked for when all of it is done.

    Raises:
        EmotionEdgeError: one sentence about what cannot be used; nothing is written then.
    """
    require(request.data)
    artifact = request.model.suffix == ".tflite"
    if artifact and request.explain:
        raise DataError(f"{request.model}: a .tflite gives no gradients to explain by; give the .keras that it was made from")
    if artifact and request.given != NOTHING_GIVEN:
        raise DataError(f"{request.model}: its manifest says how it is used; flags about the input are for Keras files")
    paths = _paths(request)
    if request.model.exists() and paths:
        check_free(list(paths.values()), request.force)
    recipe = request.recipe or _recipe_beside(request.model)
    training = None if recipe is None else training_of(recipe)
    log.info("loading %s", request.model)
    opened = open_artifact(request.model) if artifact else _original(request)
    labels = opened.network.labels if isinstance(opened, Subject) else opened.labels
    log.info("reading %s", request.data)
    data, dropped = align(open_dataset(request.data, labels), labels)
    split, name = (data.held_out, data.held_out_name) if request.split == "public" else (data.train, data.train_name)
    truth = _truth(request, split, name, labels)
    subject = opened if isinstance(opened, Subject) else settle(opened, data, request.seed)
    # Before the measuring: what cannot be explained is said at once.
    camera = GradCam(subject.keras, str(request.model)) if request.explain else None

    pixels = prepare(split, np.arange(len(split)), subject.input)
    scores = subject.scores(pixels, progress)
    mirrored = subject.scores(np.ascontiguousarray(pixels[:, :, ::-1]), progress) if request.flip else None
    sure = confidence(scores, truth, subject.temperature, subject.resolution, fit=request.split == "public")
    if subject.carried:
        sure = msgspec.structs.replace(sure, how="carried")
    measured = card(
        msgspec.structs.replace(subject.network, latency_ms=subject.latency(pixels)),
        Protocol(data.name, name, len(split), digest(pixels)),
        scores,
        truth,
        sure,
        (rfc3339(time.time()), request.command, versions()),
        training,
        duplicates_of(list(data.train.images), list(split.images)) if request.split == "public" else None,
        mirrored,
        _notes(request, dropped, sure, training),
    )
    files: dict[Path, bytes] = {}
    if request.card:
        files |= _card_files(paths, measured, scores, truth, sure)
    if camera is not None:
        samples = (pixels, to_tensor(pixels, subject.input), truth, at_temperature(scores, sure.temperature))
        title = f"Where {request.model.name} looks, {data.name} {name}"
        files[paths["explain"]] = explain(camera, title, labels, samples, request.explain, request.seed, subject.input.color)
    if files:
        write_all(files)
    return Evaluation(measured, subject.warnings, tuple(files))


def _original(request: Request) -> Original:
    given = request.given.over(read_sidecar(request.model)) if request.model.exists() else request.given
    return open_original(request.model, given, request.loading)


def _truth(request: Request, split: Split, name: str, labels: Sequence[str]) -> NDArray[np.int64]:
    if not len(split):
        raise DataError(f"{request.data}: too few pictures to keep some for measuring; give more of them")
    if split.labels is None:
        raise DataError(f"{request.data}: nothing is labelled; sort the pictures into folders named like the classes")
    present = np.unique(split.labels)
    if len(present) < 2:
        only = labels[int(present[0])]
        raise DataError(f"{request.data}: every picture of {name} is {only!r}; accuracy on one class says nothing, add others")
    return split.labels


def _notes(request: Request, dropped: int, sure: Confidence, training: Training | None) -> list[str]:
    notes = [f"{dropped:,} rows of classes that the model does not know were left out"] if dropped else []
    if request.split == "training":
        notes.append("the network may have learned from these very pictures; its accuracy on others is lower")
    elif training is not None and training.epoch is not None:
        notes.append("the epoch was chosen by the held-out part, so its accuracy there flatters by some tenths of a point")
    return [*notes, *confidence_notes(sure)]


def _recipe_beside(model: Path) -> Path | None:
    """A run's folder holds the recipe that its best weights come from."""
    recipe = model.with_name("recipe.json")
    return recipe if model.name == "best.keras" and recipe.is_file() else None


def _paths(request: Request) -> dict[str, Path]:
    stem = request.model.name if request.model.is_dir() else request.model.stem
    endings = {"json": "card.json", "page": "card.md", "chart": "confusion.png"} if request.card else {}
    endings |= {"explain": "explain.png"} if request.explain else {}
    return {name: request.folder / f"{stem}.{ending}" for name, ending in endings.items()}


def _card_files(
    paths: dict[str, Path], measured: Card, scores: NDArray[np.float32], truth: NDArray[np.int64], sure: Confidence
) -> dict[Path, bytes]:
    network, protocol = measured.network, measured.protocol
    titles = (
        f"{network.file.file}, {network.quantization}",
        f"{measured.accuracy:.2%} of {protocol.rows:,} rows of {protocol.data} {protocol.split} right, {protocol.crops}",
    )
    after = at_temperature(scores, sure.temperature)
    chart = confusion_chart(measured.confusion, network.labels, titles, scores, after, truth, sure)
    return {
        paths["json"]: msgspec.json.format(msgspec.json.encode(measured), indent=2) + b"\n",
        paths["page"]: markdown(measured, paths["chart"].name).encode(),
        paths["chart"]: chart,
    }
