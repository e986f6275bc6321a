"""What is measured: an artifact through edge, as the device runs it, or a Keras file, as edge-convert measures its original."""

from __future__ import annotations

import hashlib
import platform
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.temperature import FLOOR
from converters.datasets import Dataset
from converters.describe import Description
from converters.load import NO_HELP, FloatModel, Loading, load_model
from converters.loading.model import keras_of
from converters.progress import Progress
from converters.proof.card import Network
from converters.proof.compare import latencies, scores_through_edge
from converters.proof.cost import macs, onnx_cost, parameters, tflite_cost
from converters.proof.measure import CHUNK, resolution, tempered
from converters.proof.provenance import file_facts
from converters.quiet import quiet
from converters.resolve import Predict, Resolved, resolve, resolve_labels
from edge.emotion.classify import Classifier, calibrated, open_classifier
from edge.emotion.manifest import FORMAT, InputSpec, Manifest, OutputSpec
from edge.emotion.preprocess import to_tensor
from edge.errors import DataError
from edge.runtime import open_runtime

Scores = Callable[[NDArray[np.uint8], Progress], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Subject:
    """A network that is ready to be asked.

    Attributes:
        network: the facts about it; its latency is measured by `latency`, on real pictures.
        scores: uint8 (N, height, width, channels) -> float32 (N, classes) at temperature 1.
        temperature: that its owner chose or its manifest carries, or None.
        carried: whether that one was fitted by edge-convert.
        resolution: the smallest probability that it tells from 0.
        artifact: its .tflite in the device's runtime; None where TFLite cannot take it.
        keras: the Keras model, for gradients; None for a .tflite and what came through another loader.
        warnings: what is doubtful.
    """

    network: Network
    scores: Scores
    temperature: float | None
    resolution: float
    artifact: Classifier | None
    keras: Any
    warnings: tuple[str, ...] = ()
    carried: bool = False

    @property
    def input(self) -> InputSpec:
        return self.network.input

    def latency(self, pixels: NDArray[np.uint8]) -> float | None:
        """Median milliseconds of single calls on one thread, pixels to scores."""
        return None if self.artifact is None else latencies([(self.artifact, pixels)])[0]


def open_artifact(path: Path) -> Subject:
    """Open a .tflite or .onnx with its manifest.

    Raises:
        ModelError: see `edge.emotion.classify.open_classifier`.
    """
    with quiet():
        classifier = open_classifier(path)
    manifest = classifier.manifest
    cost = (onnx_cost if path.suffix == ".onnx" else tflite_cost)(path.read_bytes())
    network = Network(
        name=manifest.name,
        version=manifest.version,
        file=file_facts(path),
        loader=classifier.runtime.name,
        quantization=manifest.quantization,
        labels=manifest.labels,
        input=manifest.input,
        preprocessing="by its manifest",
        bytes=manifest.bytes,
        parameters=cost.parameters,
        macs=cost.macs,
        latency_ms=None,
        machine=platform.machine(),
    )
    plain = tempered(classifier, 1.0)

    def scores(pixels: NDArray[np.uint8], progress: Progress) -> NDArray[np.float32]:
        return scores_through_edge(plain, progress(pixels, "measuring"))

    carried = manifest.metrics.get("temperature") in ("fitted", "declined")
    return Subject(network, scores, manifest.output.temperature, resolution(manifest), classifier, None, carried=carried)


@dataclass(frozen=True, slots=True)
class Original:
    """A Keras file whose input is not settled yet: labels come first, because they decide how data are read."""

    model: FloatModel
    predict: Predict
    labels: tuple[str, ...]
    given: Description


def open_original(path: Path, given: Description, loading: Loading = NO_HELP) -> Original:
    """Load a Keras file.

    Args:
        path: the file, or a SavedModel folder.
        given: what flags and sidecar say.
        loading: see `converters.load.load_model`.

    Raises:
        DataError: it cannot be loaded, or its outputs have no names.
    """
    model = load_model(path, given, loading)
    return Original(model, model.predictor(), resolve_labels(model, given.labels), given)


def settle(original: Original, data: Dataset, seed: int) -> Subject:
    """Find out how a Keras network wants its pictures, as edge-convert does, and make a float .tflite to time it by.

    Raises:
        DataError: see `converters.resolve.resolve`.
    """
    model, given = original.model, original.given
    found = resolve(model, original.predict, given, data.train if len(data.train) else None, seed)
    content, problem = _as_tflite(model, found.input)
    owner = keras_of(model)
    spec = found.input
    network = Network(
        name=given.name or model.path.stem,
        version=given.version or "1.0",
        file=file_facts(model.path),
        loader=model.loader,
        quantization="float32",
        labels=original.labels,
        input=spec,
        preprocessing=found.how,
        bytes=None if content is None else len(content),
        parameters=None if owner is None else parameters(owner),
        macs=_macs(owner, content, spec),
        latency_ms=None,
        machine=platform.machine(),
    )

    def scores(pixels: NDArray[np.uint8], progress: Progress) -> NDArray[np.float32]:
        chunks = [pixels[i : i + CHUNK] for i in range(0, len(pixels), CHUNK)]
        return _plain(found, original.predict, progress(chunks, "measuring"))

    artifact = None if content is None else _timed(content, found, original.labels)
    warnings = (*found.warnings, *([problem] if problem else []))
    return Subject(network, scores, given.temperature, FLOOR, artifact, owner, warnings)


def _plain(found: Resolved, predict: Predict, chunks: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    output = OutputSpec(found.output.kind)
    values = np.concatenate([predict(to_tensor(chunk, found.input)) for chunk in chunks])
    return np.stack([calibrated(row, output) for row in values])


def _as_tflite(model: FloatModel, spec: InputSpec) -> tuple[bytes | None, str]:
    from converters.compress.flatbuffer import without_names
    from converters.export.tflite import save_fixed, to_tflite

    with tempfile.TemporaryDirectory(prefix="edge-evaluate-") as folder:
        try:
            save_fixed(model, spec.height, spec.width, Path(folder))
            return without_names(to_tflite(Path(folder), "float32")), ""
        except DataError as error:
            return None, f"size and latency are unknown: {error}"


def _timed(content: bytes, found: Resolved, labels: tuple[str, ...]) -> Classifier:
    """The float .tflite in the device's runtime; it is only timed, so its manifest carries no golden scores."""
    manifest = Manifest(
        format=FORMAT,
        name="original",
        version="",
        file="",
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        labels=labels,
        input=found.input,
        output=found.output,
        quantization="float32",
        golden=(),
    )
    with quiet():
        return Classifier(manifest, open_runtime(content, ".tflite"))


def _macs(owner: Any, content: bytes | None, spec: InputSpec) -> int | None:
    """By the layers where they are known, else by the .tflite that was made of them."""
    try:
        if owner is not None:
            return macs(owner, (spec.height, spec.width))
    except DataError:
        pass
    return None if content is None else tflite_cost(content).macs
