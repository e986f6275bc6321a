"""Candidates: each model file in each way this machine could run it, verified before it is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edge.config import TensorRtSettings
from edge.emotion.classify import SUFFIXES, Classifier, check, open_classifier
from edge.emotion.manifest import Manifest, manifest_path, read_manifest, verify_file
from edge.errors import ConfigError, ModelError, RuntimeMissingError, first_line
from edge.runtime import NO_DELEGATE, XNNPACK

Share = Annotated[float, Meta(ge=0, le=1)]

# Who computes an .onnx.
CPU, TENSORRT = "cpu", "tensorrt"
# Above this many bytes of model files, each counted once for every way it runs on the CPU, nobody there stays open between
# turns. An open one takes two to five times its file (MobileNetV2 1.0 at 96x96: float32 2.2, ONNX Runtime 2.6, float16 3.5
# with XNNPACK and 5.3 without), so all together take a quarter of a 1 GB board at most.
STAY_OPEN = 50_000_000


class Metrics(msgspec.Struct, frozen=True):
    """What `edge-convert` has measured of an artifact, of all that stands in its manifest; shares between 0 and 1."""

    verdict: str | None = None
    accuracy: Share | None = None
    float_accuracy: Share | None = None
    agreement: Share | None = None
    measured_on: str | None = None
    rows: int | None = None


class Candidate(msgspec.Struct, frozen=True):
    """A model file and a way to run it.

    Attributes:
        model: its path as it was given.
        format: quantization and kind of file, such as `int8 tflite`; None where the manifest cannot be read.
        sha256, bytes: of the file, by its manifest.
        threads: CPU threads of one call; None where it failed before that mattered, and on TensorRT.
        delegate: who computes: `xnnpack`, `none` or a library for a .tflite, `cpu` or `tensorrt` for an .onnx; None likewise.
        precision: of TensorRT's engine (`typed`: as in the model); None on the CPU.
        metrics: how right it is.
    """

    model: str
    format: str | None = None
    sha256: str | None = None
    bytes: int = 0
    threads: int | None = None
    delegate: str | None = None
    precision: str | None = None
    metrics: Metrics = Metrics()

    @property
    def name(self) -> str:
        """The file's name."""
        return Path(self.model).name


class Opened(msgspec.Struct, frozen=True):
    """A candidate that runs here and computes what its manifest says.

    Attributes:
        candidate: what it is.
        manifest: its model's.
        runtime: package and version.
        open: gives the classifier: the one that stays open, or a new one each time.
    """

    candidate: Candidate
    manifest: Manifest
    runtime: str
    open: Callable[[], Classifier]


class LeftOut(msgspec.Struct, frozen=True):
    """A candidate that cannot be measured here, and why."""

    candidate: Candidate
    reason: str


class Gpu(msgspec.Struct, frozen=True):
    """TensorRT on this machine.

    Attributes:
        python: the interpreter that has it.
        settings: as `edge-run` would be told.
        building: called before an engine is built, which may take minutes.
    """

    python: str
    settings: TensorRtSettings
    building: Callable[[], object]


class Ways(msgspec.Struct, frozen=True):
    """The ways in which this machine is to run models.

    Attributes:
        threads: numbers of CPU threads, ascending.
        libraries: external delegates to try beside XNNPACK and none; only a .tflite takes them.
        gpu: for an .onnx; None where there is no TensorRT.
    """

    threads: tuple[int, ...]
    libraries: tuple[str, ...] = ()
    gpu: Gpu | None = None

    def of(self, model: Path) -> list[tuple[str, tuple[int | None, ...]]]:
        """Who computes this model, each with the numbers of threads to try: a GPU does not care for them."""
        if model.suffix == ".tflite":
            return [(delegate, self.threads) for delegate in dict.fromkeys([XNNPACK, NO_DELEGATE, *self.libraries])]
        return [(CPU, self.threads), *([] if self.gpu is None else [(TENSORRT, (None,))])]

    def stay_open(self, found: Sequence[tuple[Path, Candidate]]) -> bool:
        """Whether there is room for all of them at one time, those on TensorRT aside."""
        sizes = [
            len(threads) * candidate.bytes
            for model, candidate in found
            for delegate, threads in self.of(model)
            if delegate != TENSORRT
        ]
        return sum(sizes) <= STAY_OPEN


def describe(models: Sequence[Path]) -> list[tuple[Path, Candidate] | LeftOut]:
    """Read what the manifests say and hold them against each other.

    Args:
        models: .tflite and .onnx files, each beside its manifest.

    Raises:
        ConfigError: a path that is no file that edge runs; all of them at once.
        ModelError: two models with other labels, or with the same in another order: they do not do the same.
    """
    if problems := [problem for model in models if (problem := _problem(model))]:
        raise ConfigError(problems)
    found: list[tuple[Path, Candidate] | LeftOut] = []
    first: tuple[Path, Manifest] | None = None
    for model in dict.fromkeys(models):
        try:
            manifest = read_manifest(manifest_path(model))
        except ModelError as error:
            found.append(LeftOut(Candidate(str(model)), _reason(error, model)))
            continue
        first = first or (model, manifest)
        if manifest.labels != first[1].labels:
            raise ModelError(
                f"{model} says {', '.join(manifest.labels)}, {first[0]} says {', '.join(first[1].labels)}: "
                "only models with the same labels in the same order can stand in for each other"
            )
        kind = f"{manifest.quantization} {model.suffix.removeprefix('.')}"
        candidate = Candidate(str(model), kind, manifest.sha256, manifest.bytes)
        try:
            candidate = msgspec.structs.replace(candidate, metrics=_metrics(manifest))
            verify_file(manifest, model)
            if manifest.input.landmarks is not None:
                raise ModelError("was trained on aligned faces, which edge-run does not make yet")
        except ModelError as error:
            found.append(LeftOut(candidate, _reason(error, model)))
        else:
            found.append((model, candidate))
    return found


def open_all(model: Path, described: Candidate, ways: Ways, stay_open: bool = True) -> Iterator[Opened | LeftOut]:
    """Open a model in every way, each verified as `edge-run` does it (sha256, shapes, golden scores).

    Args:
        model: the file.
        described: what `describe` says of it.
        ways: to run it.
        stay_open: whether it stays in memory; else it is opened, and verified, for each turn. An engine always stays: to load
            it would take the whole turn, and its memory is its own process's.
    """
    for delegate, threads in ways.of(model):
        for count in threads:
            candidate = msgspec.structs.replace(described, threads=count, delegate=delegate)
            try:
                opened = _open(model, candidate, ways.gpu, stay_open)
            except RuntimeMissingError as error:
                if model.suffix == ".tflite":
                    yield LeftOut(described, _reason(error, model))
                    return
                # TensorRT does without ONNX Runtime.
                yield LeftOut(msgspec.structs.replace(candidate, threads=None), _reason(error, model))
                break
            # A delegate or runtime of somebody else's may raise anything, also at its first call.
            except Exception as error:  # noqa: BLE001
                # More threads would not mend it.
                yield LeftOut(msgspec.structs.replace(candidate, threads=None), _reason(error, model))
                break
            yield opened


def _open(model: Path, candidate: Candidate, gpu: Gpu | None, stay_open: bool) -> Opened:
    opening: Callable[[], Classifier]
    if candidate.delegate == TENSORRT and gpu is not None:
        opening = partial(_on_tensorrt, model, gpu)
    else:
        delegate = XNNPACK if candidate.delegate in (CPU, None) else candidate.delegate
        opening = partial(open_classifier, model, candidate.threads or 1, delegate)
    classifier = opening()
    manifest, runtime = classifier.manifest, classifier.runtime
    if candidate.delegate == TENSORRT:
        candidate = _as_built(candidate, manifest, runtime.name.rpartition(" ")[2])
    return Opened(candidate, manifest, runtime.name, (lambda: classifier) if stay_open or candidate.precision else opening)


def _on_tensorrt(model: Path, gpu: Gpu) -> Classifier:
    """As `edge-run` opens it, except that the CPU never takes over: its times would stand under TensorRT's name."""
    from edge.runtime.tensorrt import open_engine

    manifest = read_manifest(manifest_path(model))
    content = verify_file(manifest, model)
    classifier = Classifier(manifest, open_engine(content, gpu.settings, gpu.python, model, building=gpu.building))
    check(classifier, model)
    return classifier


def _as_built(candidate: Candidate, manifest: Manifest, precision: str) -> Candidate:
    metrics = candidate.metrics
    if precision == "int8" and manifest.quantization != "int8-qdq":
        # TensorRT's own calibration made it INT8, on this machine: nobody has measured that.
        metrics = msgspec.structs.replace(metrics, verdict=None, accuracy=None, agreement=None)
    return msgspec.structs.replace(candidate, precision=precision, metrics=metrics)


def _problem(model: Path) -> str | None:
    if model.suffix not in SUFFIXES:
        return f"{model}: edge runs .tflite and .onnx files; edge-convert makes them"
    return None if model.is_file() else f"{model}: no such file; name .tflite and .onnx files that edge-convert wrote"


def _metrics(manifest: Manifest) -> Metrics:
    try:
        return msgspec.convert(manifest.metrics, Metrics)
    except msgspec.ValidationError as error:
        raise ModelError(f"its manifest's metrics cannot be used ({error}); convert it again") from None


def _reason(error: Exception, model: Path) -> str:
    return first_line(error, 400).removeprefix(f"{model}: ").removeprefix(f"{manifest_path(model)}: ")
