"""Candidates: each model file in each way this machine could run it, verified before it is measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edge.emotion.classify import SUFFIXES, Classifier, open_classifier
from edge.emotion.manifest import Manifest, manifest_path, read_manifest, verify_file
from edge.errors import ConfigError, ModelError, RuntimeMissingError, first_line
from edge.runtime import NO_DELEGATE, XNNPACK

Share = Annotated[float, Meta(ge=0, le=1)]


class Metrics(msgspec.Struct, frozen=True):
    """What `edge-convert` has measured of an artifact, of all that stands in its manifest; shares between 0 and 1."""

    verdict: str | None = None
    accuracy: Share | None = None
    float_accuracy: Share | None = None
    agreement: Share | None = None
    measured_on: str | None = None


class Candidate(msgspec.Struct, frozen=True):
    """A model file and a way to run it.

    Attributes:
        model: its path as it was given.
        format: quantization and kind of file, such as `int8 tflite`; None where the manifest cannot be read.
        sha256, bytes: of the file, by its manifest.
        threads: CPU threads of one call; None where it failed before that mattered.
        delegate: `xnnpack`, `none` or a library; None likewise, and for anything but a .tflite.
        metrics: how right it is.
    """

    model: str
    format: str | None = None
    sha256: str | None = None
    bytes: int = 0
    threads: int | None = None
    delegate: str | None = None
    metrics: Metrics = Metrics()

    @property
    def name(self) -> str:
        """The file's name."""
        return Path(self.model).name


class Opened(msgspec.Struct, frozen=True):
    """A candidate that runs here and computes what its manifest says."""

    candidate: Candidate
    classifier: Classifier


class LeftOut(msgspec.Struct, frozen=True):
    """A candidate that cannot be measured here, and why."""

    candidate: Candidate
    reason: str


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
        except ModelError as error:
            found.append(LeftOut(candidate, _reason(error, model)))
        else:
            found.append((model, candidate))
    return found


def open_all(model: Path, described: Candidate, threads: Sequence[int], libraries: Sequence[str]) -> Iterator[Opened | LeftOut]:
    """Open a model in every way, each verified as `edge-run` does it (sha256, shapes, golden scores).

    Args:
        model: the file.
        described: what `describe` says of it.
        threads: numbers of CPU threads, ascending.
        libraries: external delegates to try beside XNNPACK and none; only a .tflite takes them.
    """
    delegates = dict.fromkeys([XNNPACK, NO_DELEGATE, *libraries]) if model.suffix == ".tflite" else [None]
    for delegate in delegates:
        for count in threads:
            candidate = msgspec.structs.replace(described, threads=count, delegate=delegate)
            try:
                classifier = open_classifier(model, count, delegate or XNNPACK)
                if classifier.manifest.input.landmarks is not None:
                    raise ModelError("was trained on aligned faces, which edge-run does not make yet")
            except RuntimeMissingError as error:
                yield LeftOut(described, _reason(error, model))
                return
            # A delegate or runtime of somebody else's may raise anything, also at its first call.
            except Exception as error:  # noqa: BLE001
                # More threads would not mend it.
                yield LeftOut(msgspec.structs.replace(candidate, threads=None), _reason(error, model))
                break
            yield Opened(candidate, classifier)


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
