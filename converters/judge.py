"""One artifact before the gate: run as the device runs it, held against the network that it was made from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from calibration.temperature import at_temperature
from converters.build import Built
from converters.case import Case
from converters.formats import Format
from converters.progress import Progress
from converters.proof.compare import Comparison, compare, latencies, scores_through_edge
from converters.proof.evaluate import Confidence, confidence
from converters.proof.golden import find_golden
from converters.proof.measure import resolution, tempered
from converters.proof.provenance import versions
from converters.proof.report import metrics
from converters.quiet import quiet
from edge.emotion.classify import Classifier, check
from edge.emotion.manifest import FORMAT, Manifest
from edge.runtime import open_runtime


@dataclass(frozen=True, slots=True)
class Judged:
    """An artifact and what was found.

    Attributes:
        classifier: it in edge's runtime, with its whole manifest.
        built: its content and where it hurts.
        comparison: the gate. confidence: None without labels.
        latency_ms: of it. reference_ms: of the float network as TFLite, in the same turns.
    """

    classifier: Classifier
    built: Built
    comparison: Comparison
    confidence: Confidence | None
    latency_ms: float
    reference_ms: float

    @property
    def manifest(self) -> Manifest:
        return self.classifier.manifest


def open_built(case: Case, form: Format, built: Built, file: str) -> Classifier:
    """An artifact in the device's runtime; its manifest has no golden scores yet, and the temperature that was given.

    Args:
        case: the conversion.
        form, built: the artifact.
        file: its name.
    """
    spec = case.resolved.input
    made_with: dict[str, object] = {}
    if built.ranges is not None:
        kind = "ranges of an earlier conversion" if built.given else case.calibration.kind
        made_with = {"calibrated_with": kind, "calibrated_rows": built.ranges.rows}
        made_with |= {"ranges": built.ranges.method, "ranges_sha256": built.ranges.digest}
    if built.in_float:
        made_with["in_float"] = list(built.in_float)
    if case.request.prune:
        made_with |= {"pruned": case.request.prune, "finetuned_epochs": case.request.finetune}
    manifest = Manifest(
        format=FORMAT,
        name=case.name,
        version=case.given.version or "1.0",
        file=file,
        sha256=hashlib.sha256(built.content).hexdigest(),
        bytes=len(built.content),
        labels=case.labels,
        input=msgspec.structs.replace(spec, layout="NCHW") if form.suffix == ".onnx" else spec,
        output=case.resolved.output,
        quantization="int8-mixed" if form.quantization == "int8" and built.in_float else form.quantization,
        golden=(),
        recipe={
            "source": case.source.file,
            "source_sha256": case.source.sha256,
            "loaded_by": case.model.loader,
            "seed": case.request.seed,
            "versions": versions(),
            **made_with,
        },
    )
    with quiet():
        return Classifier(manifest, open_runtime(built.content, form.suffix))


def judge(
    case: Case, form: Format, built: Built, classifier: Classifier, exact: Classifier, path: Path, progress: Progress
) -> Judged:
    """Measure an artifact and hold it against the original.

    Args:
        case: the conversion.
        form, built, classifier: the artifact, from `open_built`.
        exact: the float network as TFLite, whose latency the artifact's is compared with.
        path: where it will lie, for errors.
        progress: see `Progress`.

    Raises:
        ModelError: it gives other scores when it is asked again.
    """
    measured, limits = case.measured, (case.request.max_drop, case.request.min_agreement)
    reference_ms, latency = latencies([(exact, measured.pixels), (classifier, measured.pixels)])
    plain = scores_through_edge(tempered(classifier, 1.0), progress(measured.pixels, f"measuring {form.flag}"))
    # Both sides at one temperature, so that their difference is that of the networks; it moves no top-1.
    scores = at_temperature(plain, case.resolved.output.temperature)
    comparison = compare(measured.reference, scores, measured.truth, case.labels, limits, measured.synthetic)
    truth, sure = measured.truth, None
    if truth is not None:
        sure = confidence(plain, truth, case.given.temperature, resolution(classifier.manifest))
    final = tempered(classifier, sure.temperature if sure else case.resolved.output.temperature)
    manifest = msgspec.structs.replace(
        final.manifest, golden=find_golden(final), metrics=metrics(comparison, measured.rows, sure)
    )
    whole = Classifier(manifest, classifier.runtime)
    check(whole, path)
    return Judged(whole, built, comparison, sure, latency, reference_ms)
