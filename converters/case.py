"""What is converted, settled before anything is made: the network, its contract, the pictures to calibrate and to judge with."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from converters.compress.samples import Calibration, choose, make_up
from converters.datasets import Dataset, open_dataset, require
from converters.datasets.align import align
from converters.datasets.doubts import doubts
from converters.describe import Description, read_sidecar
from converters.load import FloatModel, load_model
from converters.loading.model import keras_of
from converters.progress import Progress
from converters.proof.measure import Measured, measure_float
from converters.proof.provenance import file_facts
from converters.proof.report import FileFacts
from converters.request import Request
from converters.resolve import Resolved, resolve, resolve_labels
from edge.errors import DataError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Case:
    """What all formats of one conversion share.

    Attributes:
        request: what is asked for.
        model: the network as it came, which everything is held against. source: its file.
        given: what flags and sidecar say of it.
        labels, resolved: its contract.
        data: the data set, or None. warnings, notes: about it.
        calibration: pictures to observe with.
        measured: pictures to judge with, and what the network says of them.
    """

    request: Request
    model: FloatModel
    source: FileFacts
    given: Description
    labels: tuple[str, ...]
    resolved: Resolved
    data: Dataset | None
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    calibration: Calibration
    measured: Measured

    @property
    def name(self) -> str:
        """What events will call the model."""
        return self.given.name or self.request.source.stem


def open_case(request: Request, progress: Progress) -> Case:
    """Load, find out how the network wants its pictures, choose them and ask it.

    Raises:
        DataError: network or data cannot be used.
    """
    if request.data is not None:
        require(request.data)
    given = request.given.over(read_sidecar(request.source)) if request.source.exists() else request.given
    log.info("loading %s", request.source)
    model = load_model(request.source, given, request.loading)
    labels = resolve_labels(model, given.labels)
    predict = model.predictor()
    data, warnings, notes = _open_data(request, labels)
    resolved = resolve(model, predict, given, data.train if data else None, request.seed)
    if data is not None:
        calibration = choose(data.train, resolved.input, request.samples, request.seed)
    else:
        # Ranges that are given need no pictures; noise is measured with these, and any will do for that.
        network = None if request.ranges else keras_of(model)
        calibration = make_up(network, resolved.input, request.samples, request.seed, progress)
    return Case(
        request=request,
        model=model,
        source=file_facts(request.source),
        given=given,
        labels=labels,
        resolved=resolved,
        data=data,
        warnings=(*warnings, *resolved.warnings),
        notes=tuple(notes),
        calibration=calibration,
        measured=measure_float(data, resolved, predict, progress),
    )


def _open_data(request: Request, labels: tuple[str, ...]) -> tuple[Dataset | None, list[str], list[str]]:
    if request.data is None:
        return None, ["no --data: calibrated with made-up pictures; nobody knows how accurate the result is"], []
    log.info("reading %s", request.data)
    data, dropped = align(open_dataset(request.data, labels), labels)
    if not len(data.train):
        raise DataError(f"{request.data}: {len(data.held_out)} picture(s), all in the part to measure on; give more of them")
    names = (f"{data.name}, the part to calibrate with", f"{data.name}, {data.held_out_name}")
    warnings = doubts(data.train, data.held_out, names, request.seed)
    if not len(data.held_out):
        warnings.append(f"{data.name}: too few pictures to keep some for measuring; measured on made-up ones")
    elif data.held_out.labels is None:
        warnings.append(f"{data.name}: no class folders, so accuracy is unknown; only agreement is measured")
    notes = [f"{dropped:,} rows of classes that the model does not know were left out"] if dropped else []
    return data, warnings, notes
