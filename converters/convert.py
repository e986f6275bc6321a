"""The whole way from a Keras file to an artifact that is proven: load, resolve, calibrate, convert, compare, write."""

from __future__ import annotations

import hashlib
import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from calibration.temperature import at_temperature
from converters.compress.quantize import SAMPLES, Calibration, choose
from converters.datasets import Dataset, open_dataset, require
from converters.datasets.align import align
from converters.datasets.doubts import doubts
from converters.describe import NOTHING_GIVEN, Description, read_sidecar
from converters.load import FloatModel, load_model
from converters.outputs import Outputs, check_outputs, plan, write_all
from converters.proof.compare import Comparison, compare, latencies, scores_through_edge
from converters.proof.evaluate import Confidence, confidence
from converters.proof.golden import find_golden
from converters.proof.measure import Measured, Progress, measure_float, resolution, tempered
from converters.proof.provenance import digest, file_facts, versions
from converters.proof.report import FORMAT, FileFacts, Report, Rows, confidence_notes, figures, metrics
from converters.quiet import quiet
from converters.resolve import Resolved, resolve, resolve_labels
from edge.clock import rfc3339
from edge.emotion.classify import Classifier, check
from edge.emotion.manifest import FORMAT as MANIFEST_FORMAT
from edge.emotion.manifest import Manifest, Quantization
from edge.emotion.preprocess import to_tensor
from edge.errors import DataError
from edge.runtime import open_runtime

# What the flags and file names say -> what the manifest says.
FORMATS: dict[str, Quantization] = {"int8": "int8", "fp16": "float16", "dynamic": "int8-dynamic", "fp32": "float32"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    Attributes:
        source: the Keras file or SavedModel folder.
        formats: keys of FORMATS.
        folder: where the artifacts go.
        data: a data set, or None.
        given: what flags say about the model.
        samples: pictures to calibrate with.
        seed: of every choice.
        max_drop, min_agreement: the gate: points, fraction.
        force: replace files that are there.
        allow_lambda, custom: see `converters.load.load_model`.
        command: for the report.
    """

    source: Path
    formats: tuple[str, ...]
    folder: Path
    data: Path | None = None
    given: Description = NOTHING_GIVEN
    samples: int = SAMPLES
    seed: int = 0
    max_drop: float = 1.0
    min_agreement: float = 0.95
    force: bool = False
    allow_lambda: bool = False
    custom: Path | None = None
    command: str = ""


def convert(request: Request, progress: Progress) -> list[Report]:
    """Convert, prove and write.

    When one format fails its gate, none is written: an exit status speaks for the whole command. What was there before
    stays as it was. The failed report is left, under a name that nothing takes for a model.

    Returns:
        One report per format; files are written when none of their verdicts is `failed`.

    Raises:
        EmotionEdgeError: one sentence about what cannot be used; nothing is written then.
    """
    outputs = {name: plan(request.source, request.folder, name) for name in request.formats}
    if request.data is not None:
        require(request.data)
    given = request.given.over(read_sidecar(request.source)) if request.source.exists() else request.given
    if request.source.exists():
        check_outputs(list(outputs.values()), request.force)
    log.info("loading %s", request.source)
    model = load_model(request.source, request.allow_lambda, request.custom)
    labels = resolve_labels(model, given.labels)
    predict = model.predictor()
    data, warnings, notes = _open(request, labels)
    resolved = resolve(model, predict, given, data.train if data else None, request.seed)
    calibration = choose(data.train if data else None, resolved.input, request.samples, request.seed)
    measured = measure_float(data, resolved, predict, progress)
    runs = _build(request, model, given, labels, resolved, calibration)
    reports, files = [], {}
    speeds = latencies([runs["float32"][0], *(runs[FORMATS[name]][0] for name in request.formats)], measured.pixels)
    for name, speed in zip(request.formats, speeds[1:], strict=True):
        classifier, content = runs[FORMATS[name]]
        plain = scores_through_edge(tempered(classifier, 1.0), progress(measured.pixels, f"measuring {name}"))
        # Both sides at one temperature, so that their difference is that of the networks; it moves no top-1.
        scores = at_temperature(plain, resolved.output.temperature)
        comparison = compare(
            measured.reference, scores, measured.truth, labels, (request.max_drop, request.min_agreement), measured.synthetic
        )
        truth, given_at = measured.truth, given.temperature
        sure = None if truth is None else confidence(plain, truth, given_at, resolution(classifier.manifest))
        final = tempered(classifier, sure.temperature if sure else resolved.output.temperature)
        manifest = msgspec.structs.replace(
            final.manifest, golden=find_golden(final), metrics=metrics(comparison, measured.rows, sure)
        )
        check(Classifier(manifest, classifier.runtime), outputs[name].artifact)
        facts = (len(runs["float32"][1]), speeds[0], speed)
        report = _report(request, model, manifest, resolved, calibration, data, measured, comparison, sure, facts)
        report = msgspec.structs.replace(report, warnings=(*warnings, *resolved.warnings), notes=(*notes, *report.notes))
        reports.append(report)
        files[name] = {
            outputs[name].artifact: content,
            outputs[name].report: _json(report),
            outputs[name].manifest: _json(manifest),
        }
    _write(reports, files, outputs)
    return reports


def _open(request: Request, labels: tuple[str, ...]) -> tuple[Dataset | None, list[str], list[str]]:
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


def _build(
    request: Request,
    model: FloatModel,
    given: Description,
    labels: tuple[str, ...],
    resolved: Resolved,
    calibration: Calibration,
) -> dict[Quantization, tuple[Classifier, bytes]]:
    """Every format that is asked for, and float32, which the latency of the original is measured with."""
    from converters.export.tflite import save_fixed, to_tflite

    spec = resolved.input
    source = file_facts(request.source)
    samples = to_tensor(calibration.pixels, spec)
    kind = "made-up pictures" if calibration.synthetic else "real pictures"
    made_with = {"calibrated_with": kind, "calibrated_rows": len(calibration.pixels)}
    built: dict[Quantization, tuple[Classifier, bytes]] = {}
    with tempfile.TemporaryDirectory(prefix="edge-convert-") as folder:
        save_fixed(model, spec.height, spec.width, Path(folder))
        for name in dict.fromkeys(("fp32", *request.formats)):
            log.info("converting to %s", name)
            content = to_tflite(Path(folder), FORMATS[name], samples)
            manifest = Manifest(
                format=MANIFEST_FORMAT,
                name=given.name or request.source.stem,
                version=given.version or "1.0",
                file=plan(request.source, request.folder, name).artifact.name,
                sha256=hashlib.sha256(content).hexdigest(),
                bytes=len(content),
                labels=labels,
                input=spec,
                output=resolved.output,
                quantization=FORMATS[name],
                golden=(),
                recipe={
                    "source": source.file,
                    "source_sha256": source.sha256,
                    "loaded_by": model.loader,
                    "seed": request.seed,
                    "versions": versions(),
                    **(made_with if name == "int8" else {}),
                },
            )
            with quiet():
                built[FORMATS[name]] = Classifier(manifest, open_runtime(content, ".tflite")), content
    return built


def _report(
    request: Request,
    model: FloatModel,
    manifest: Manifest,
    resolved: Resolved,
    calibration: Calibration,
    data: Dataset | None,
    measured: Measured,
    comparison: Comparison,
    sure: Confidence | None,
    facts: tuple[int, float, float],
) -> Report:
    float_bytes, float_latency, latency = facts
    source = "made-up pictures" if data is None else f"rows of {data.name} {data.train_name}"
    rows = Rows(len(calibration.pixels), source, digest(calibration.pixels)) if manifest.quantization == "int8" else None
    notes = [
        "latency is the median of single calls on one thread through the same runtime; float32 is the float network as TFLite"
    ]
    if comparison.agreement is None:
        notes.append("made-up pictures fall into fewer than three classes of this network; their agreement says nothing")
    elif measured.synthetic:
        notes.append("agreement is that on made-up pictures of which the float network is sure; faces are another matter")
    if measured.truth is not None and not comparison.proven:
        worth = 100 / len(measured.truth)
        notes.append(f"{len(measured.truth)} rows are too few: one of them is {worth:.1f} points; give more labelled pictures")
    notes += confidence_notes(sure)
    return Report(
        format=FORMAT,
        verdict=comparison.verdict,
        at=rfc3339(time.time()),
        command=request.command,
        seed=request.seed,
        versions=versions(),
        source=file_facts(request.source),
        loaded_by=model.loader,
        artifact=FileFacts(manifest.file, manifest.sha256, manifest.bytes),
        quantization=manifest.quantization,
        labels=manifest.labels,
        input=resolved.input,
        output=manifest.output,
        preprocessing=resolved.how,
        calibrated=rows,
        measured=measured.rows,
        reference=figures(float_bytes, float_latency, comparison.reference, manifest.labels),
        converted=figures(manifest.bytes, latency, comparison.artifact, manifest.labels),
        confidence=sure,
        agreement=comparison.agreement,
        largest_difference=comparison.difference,
        gate=comparison.checks,
        warnings=(),
        notes=tuple(notes),
    )


def _write(reports: Sequence[Report], files: dict[str, dict[Path, bytes]], outputs: dict[str, Outputs]) -> None:
    failed = {
        outputs[name].failed: _json(report) for name, report in zip(files, reports, strict=True) if report.verdict == "failed"
    }
    if failed:
        write_all(failed)
        return
    write_all({path: content for part in files.values() for path, content in part.items()})
    for output in outputs.values():
        output.failed.unlink(missing_ok=True)


def _json(content: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
