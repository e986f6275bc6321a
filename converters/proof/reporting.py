"""One judged artifact -> its report."""

from __future__ import annotations

import time

from converters.case import Case
from converters.formats import Format
from converters.judge import Judged
from converters.proof.compare import Comparison
from converters.proof.provenance import digest, versions
from converters.proof.report import FORMAT, Attempt, FileFacts, Pruned, RangeFacts, Report, Rows, confidence_notes, figures
from edge.clock import rfc3339


def make_report(
    case: Case, form: Format, judged: Judged, float_bytes: int, pruned: Pruned | None, before: Attempt | None
) -> Report:
    """Everything that is known of one artifact.

    Args:
        case: the conversion.
        form, judged: the artifact.
        float_bytes: size of the float network as TFLite.
        pruned: what was taken away before, if anything was.
        before: how the artifact did before layers were left in float, if any were.
    """
    manifest, comparison, built = judged.manifest, judged.comparison, judged.built
    pixels, given = case.calibration.pixels, built.given
    source = case.calibration.kind if case.data is None else f"rows of {case.data.name} {case.data.train_name}"
    ranges = built.ranges
    return Report(
        format=FORMAT,
        verdict=comparison.verdict,
        at=rfc3339(time.time()),
        command=case.request.command,
        seed=case.request.seed,
        versions=versions(),
        source=case.source,
        loaded_by=case.model.loader,
        pruned=pruned,
        artifact=FileFacts(manifest.file, manifest.sha256, manifest.bytes),
        format_name=form.flag,
        quantization=manifest.quantization,
        labels=manifest.labels,
        input=manifest.input,
        output=manifest.output,
        preprocessing=case.resolved.how,
        calibrated=None if ranges is None or given else Rows(len(pixels), source, digest(pixels)),
        ranges=None if ranges is None else RangeFacts(ranges.method, ranges.digest, given),
        measured=case.measured.rows,
        reference=figures(float_bytes, judged.reference_ms, comparison.reference, manifest.labels),
        converted=figures(manifest.bytes, judged.latency_ms, comparison.artifact, manifest.labels),
        confidence=judged.confidence,
        agreement=comparison.agreement,
        largest_difference=comparison.difference,
        gate=comparison.checks,
        layers=built.layers,
        in_float=built.in_float,
        before_in_float=before,
        warnings=(*case.warnings, *_warnings(comparison)),
        notes=(*case.notes, *_notes(case, form, judged)),
    )


def attempt(judged: Judged) -> Attempt:
    """What is kept of an artifact that did not pass."""
    quality = judged.comparison.artifact
    accuracy = None if quality is None else quality.accuracy
    return Attempt(judged.comparison.verdict, len(judged.built.content), accuracy, judged.comparison.agreement)


def _warnings(comparison: Comparison) -> list[str]:
    return (
        []
        if comparison.checks
        else ["nothing could be checked: no pictures of faces, and made-up ones say nothing of this network"]
    )


def _notes(case: Case, form: Format, judged: Judged) -> list[str]:
    notes = [
        "latency is the median of single calls on one thread of this machine; float32 is the float network as TFLite",
    ]
    if form.quantization == "int8-qdq":
        notes.append("Q/DQ is computed in float here, slower than without; its speed shows on TensorRT alone")
    if judged.comparison.agreement is None:
        notes.append("made-up pictures fall into fewer than three classes of this network; their agreement says nothing")
    elif case.measured.synthetic:
        notes.append("agreement is that on made-up pictures of which the float network is sure; faces are another matter")
    truth = case.measured.truth
    if truth is not None and not judged.comparison.proven:
        worth = 100 / len(truth)
        notes.append(f"{len(truth)} rows are too few: one of them is {worth:.1f} points; give more labelled pictures")
    return notes + confidence_notes(judged.confidence)
