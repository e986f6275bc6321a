"""Two networks side by side on the same pictures: each through its own preprocessing, as the device would run it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from calibration.temperature import at_temperature
from converters.compress.samples import prepare
from converters.datasets import Dataset, open_dataset, require
from converters.datasets.align import align
from converters.describe import NOTHING_GIVEN, Description, read_sidecar
from converters.load import Loading
from converters.progress import Progress
from converters.proof.compare import Check, Verdict, compare, latencies
from converters.proof.provenance import digest, versions
from converters.proof.report import Figures, FileFacts, Rows, figures
from converters.proof.subject import Original, Subject, open_artifact, open_original, settle
from edge.clock import rfc3339
from edge.emotion.classify import SUFFIXES
from edge.errors import DataError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    Attributes:
        reference: what is trusted: a Keras file, or an artifact with its manifest beside it.
        candidate: what is held against it.
        data: a data set; without labels only agreement is measured.
        given: what flags say about a Keras file.
        seed: of rows to try a preprocessing with.
        max_drop, min_agreement: the gate: points, fraction.
        loading: see `converters.load.load_model`.
        command: for the report.
    """

    reference: Path
    candidate: Path
    data: Path
    given: Description = NOTHING_GIVEN
    seed: int = 0
    max_drop: float = 1.0
    min_agreement: float = 0.95
    loading: Loading = field(default_factory=Loading)
    command: str = ""


class Side(msgspec.Struct, frozen=True):
    """One network: its file, what runs it, how its numbers are kept, what it is worth."""

    file: FileFacts
    runs_on: str
    quantization: str
    preprocessing: str
    figures: Figures


class Versus(msgspec.Struct, frozen=True):
    """Two networks on the same rows; see docs/compare.md for every key."""

    verdict: Verdict
    at: str
    command: str
    versions: dict[str, str]
    labels: tuple[str, ...]
    measured: Rows
    reference: Side
    candidate: Side
    agreement: float | None
    largest_difference: float
    gate: tuple[Check, ...]
    warnings: tuple[str, ...]


def hold(request: Request, progress: Progress) -> Versus:
    """Measure both and apply the gate.

    Raises:
        EmotionEdgeError: one sentence about what cannot be used.
    """
    require(request.data)
    opened = [_open(path, request) for path in (request.reference, request.candidate)]
    labels, theirs = (side.network.labels if isinstance(side, Subject) else side.labels for side in opened)
    if set(labels) != set(theirs):
        raise DataError(f"{request.candidate}: tells {', '.join(theirs)}, {request.reference.name} tells {', '.join(labels)}")
    log.info("reading %s", request.data)
    data, _ = align(open_dataset(request.data, labels), labels)
    if not len(data.held_out):
        raise DataError(f"{request.data}: too few pictures to keep some for measuring; give more of them")
    one, other = (
        side if isinstance(side, Subject) else settle(side, _in_order(data, side.labels), request.seed) for side in opened
    )
    pixels = [prepare(data.held_out, np.arange(len(data.held_out)), side.input) for side in (one, other)]
    before = _scores(one, pixels[0], progress)
    after = _scores(other, pixels[1], progress)[:, [theirs.index(label) for label in labels]]
    found = compare(before, after, data.held_out.labels, labels, (request.max_drop, request.min_agreement), synthetic=False)
    speeds = _latencies([one, other], pixels)
    return Versus(
        verdict=found.verdict,
        at=rfc3339(time.time()),
        command=request.command,
        versions=versions(),
        labels=labels,
        measured=Rows(len(pixels[0]), f"rows of {data.name} {data.held_out_name}", digest(pixels[0])),
        reference=_side(one, figures(_size(one), speeds[0], found.reference, labels)),
        candidate=_side(other, figures(_size(other), speeds[1], found.artifact, labels)),
        agreement=found.agreement,
        largest_difference=found.difference,
        gate=found.checks,
        warnings=(*one.warnings, *other.warnings),
    )


def _open(path: Path, request: Request) -> Subject | Original:
    log.info("loading %s", path)
    if path.suffix in SUFFIXES:
        return open_artifact(path)
    given = request.given.over(read_sidecar(path)) if path.exists() else request.given
    return open_original(path, given, request.loading)


def _in_order(data: Dataset, labels: tuple[str, ...]) -> Dataset:
    """The data as a network of other label order knows it."""
    return align(data, labels)[0]


def _scores(side: Subject, pixels: NDArray[np.uint8], progress: Progress) -> NDArray[np.float32]:
    return at_temperature(side.scores(pixels, progress), side.temperature or 1.0)


def _latencies(sides: list[Subject], pixels: list[NDArray[np.uint8]]) -> list[float | None]:
    timed = [(side.artifact, views) for side, views in zip(sides, pixels, strict=True) if side.artifact is not None]
    found = iter(latencies(timed))
    return [next(found) if side.artifact is not None else None for side in sides]


def _side(side: Subject, worth: Figures) -> Side:
    network = side.network
    return Side(network.file, network.loader, network.quantization, network.preprocessing, worth)


def _size(side: Subject) -> int:
    return side.network.bytes or side.network.file.bytes
