"""What a conversion was worth: everything as JSON for machines, the main figures as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from calibration.choose import Method
from calibration.temperature import COLDEST, HOTTEST
from converters.compress.sensitivity import LayerNoise
from converters.proof.compare import Check, Comparison, Verdict
from converters.proof.evaluate import FEWEST_TO_FIT, Confidence, Quality
from edge.emotion.manifest import InputSpec, OutputSpec, Quantization

FORMAT = 2
Row = tuple[str, str, str, str]
# Layers that are named to a person.
WORST = 3


class FileFacts(msgspec.Struct, frozen=True):
    """A file by name, size and sha256. A folder's sha256 is over its files' names and contents."""

    file: str
    sha256: str
    bytes: int


class Rows(msgspec.Struct, frozen=True):
    """Pictures that were used for something: how many, from where, and the sha256 of their pixels as the network saw them."""

    count: int
    source: str
    sha256: str


class Figures(msgspec.Struct, frozen=True):
    """One network: size of its .tflite (of its file where TFLite cannot take it), median latency of one call (null there),
    and its quality as fractions; null without labels.
    """

    bytes: int
    latency_ms: float | None
    accuracy: float | None
    macro_f1: float | None
    recall: dict[str, float | None] | None
    confusion: list[list[int]] | None


class Pruned(msgspec.Struct, frozen=True):
    """What was taken away before: the share of channels, weights before and after, epochs of fine-tuning."""

    ratio: float
    parameters_before: int
    parameters: int
    epochs: int


class Attempt(msgspec.Struct, frozen=True):
    """What came of it before layers were left in float; accuracy as a fraction, null without labels."""

    verdict: Verdict
    bytes: int
    accuracy: float | None
    agreement: float | None


class RangeFacts(msgspec.Struct, frozen=True):
    """Ranges by method and sha256; `given` when they came from an earlier conversion."""

    method: Method
    sha256: str
    given: bool


class Report(msgspec.Struct, frozen=True):
    """One conversion; see docs/convert.md for every key."""

    format: int
    verdict: Verdict
    at: str
    command: str
    seed: int
    versions: dict[str, str]
    source: FileFacts
    loaded_by: str
    pruned: Pruned | None
    artifact: FileFacts
    format_name: str
    quantization: Quantization
    labels: tuple[str, ...]
    input: InputSpec
    output: OutputSpec
    preprocessing: str
    calibrated: Rows | None
    ranges: RangeFacts | None
    measured: Rows
    reference: Figures
    converted: Figures
    confidence: Confidence | None
    agreement: float | None
    largest_difference: float
    gate: tuple[Check, ...]
    layers: tuple[LayerNoise, ...]
    in_float: tuple[str, ...]
    before_in_float: Attempt | None
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def figures(size: int, latency: float | None, quality: Quality | None, labels: Sequence[str]) -> Figures:
    """One side of a comparison as it stands in the report."""
    if quality is None:
        return Figures(size, latency, None, None, None, None)
    recall = dict(zip(labels, quality.recall, strict=True))
    return Figures(size, latency, quality.accuracy, quality.macro_f1, recall, quality.confusion.tolist())


def metrics(comparison: Comparison, measured: Rows, confidence: Confidence | None) -> dict[str, object]:
    """The few figures that travel in the manifest."""
    found: dict[str, object] = {
        "verdict": comparison.verdict,
        "measured_on": measured.source,
        "rows": measured.count,
        "agreement": comparison.agreement,
        "accuracy": None,
    }
    if comparison.artifact is not None and comparison.reference is not None:
        found["accuracy"] = comparison.artifact.accuracy
        found["macro_f1"] = comparison.artifact.macro_f1
        found["float_accuracy"] = comparison.reference.accuracy
    if confidence is not None:
        found["calibration_error"] = confidence.ece_after
        found["temperature"] = confidence.how
    return found


def table(report: Report) -> str:
    """The report as aligned lines of plain text."""
    rows = [("", "float32", report.quantization, "change"), *figure_rows(report.reference, report.converted, report.labels)]
    agreement = "unknown" if report.agreement is None else f"{report.agreement:.2%}"
    calibrated = "not calibrated" if report.calibrated is None else f"calibrated with {_rows(report.calibrated)}"
    size = f"{report.input.height}x{report.input.width} {report.input.color}"
    lines = [
        f"{report.artifact.file}: {size}, input {report.preprocessing}",
        f"{calibrated}, measured on {_rows(report.measured)}",
        "",
        *lay_out(rows),
        "",
        f"same top-1 as float: {agreement}; largest difference of a probability: {report.largest_difference:.3f}",
        *_layers(report),
        *([] if report.confidence is None else [confidence_line(report.confidence)]),
        *(f"note: {note}" for note in report.notes),
        verdict_line(report.verdict, report.gate),
    ]
    return "\n".join(lines)


def _layers(report: Report) -> list[str]:
    lines = []
    worst = sorted((layer for layer in report.layers if not layer.in_float), key=lambda layer: layer.here_db)[:WORST]
    if worst:
        named = ", ".join(f"{layer.layer} {layer.here_db:.0f} dB" for layer in worst)
        lines.append(f"signal to quantization noise is lowest at {named}")
    if report.in_float:
        lines.append(f"left in float: {', '.join(report.in_float)}")
    if report.before_in_float is not None:
        before, after = report.before_in_float, report
        accuracy = _points("", before.accuracy, after.converted.accuracy)
        agreement = _points("", before.agreement, after.agreement)
        lines.append(
            f"which took accuracy from {accuracy[1]} to {accuracy[2]}, agreement from {agreement[1]} to {agreement[2]}, "
            f"size from {_kilobytes(before.bytes)} to {_kilobytes(after.artifact.bytes)}"
        )
    return lines


def confidence_line(confidence: Confidence) -> str:
    """Temperature and calibration error as one sentence."""
    return (
        f"confidence: temperature {confidence.temperature:g} ({confidence.how}), expected calibration error "
        f"{confidence.ece_before:.2%} before and {confidence.ece_after:.2%} after it"
    )


def confidence_notes(confidence: Confidence | None) -> list[str]:
    """How to read the temperature; nothing where somebody gave it."""
    if confidence is None or confidence.how == "given":
        return []
    if confidence.how == "kept" and confidence.rows < FEWEST_TO_FIT:
        return [f"{confidence.rows} labelled rows are too few to fit the temperature ({FEWEST_TO_FIT} are needed); it stays 1"]
    if confidence.how == "kept":
        return ["the temperature is not fitted to rows that the network has learned from; it stays 1"]
    if confidence.how == "declined":
        return ["the likeliest temperature would have made the calibration error larger; it stays 1"]
    if confidence.how == "carried" and confidence.temperature == 1.0:
        return ["edge-convert looked for a temperature on the held-out part, whose calibration error this is; 1 was the best"]
    if confidence.how == "carried":
        return ["edge-convert fitted the temperature to the held-out part; on those rows the calibration error flatters a little"]
    notes = ["the calibration error is measured on the rows that the temperature was fitted to, which flatters it a little"]
    if not COLDEST < confidence.temperature < HOTTEST:
        notes.append("the temperature ended at its limit: the network's confidence says next to nothing of its being right")
    return notes


def figure_rows(before: Figures, after: Figures, labels: Sequence[str]) -> list[Row]:
    """Two networks' figures, line by line: name, one, the other, the change."""
    rows = [("size", _kilobytes(before.bytes), _kilobytes(after.bytes), f"{after.bytes / before.bytes - 1:+.0%}")]
    if before.latency_ms is not None and after.latency_ms is not None:
        times = f"{before.latency_ms:.3f} ms", f"{after.latency_ms:.3f} ms"
        rows.append(("latency", *times, f"{after.latency_ms / before.latency_ms - 1:+.0%}"))
    rows.append(_points("accuracy", before.accuracy, after.accuracy))
    if before.recall is not None and after.recall is not None:
        rows.append(_points("macro-F1", before.macro_f1, after.macro_f1))
        rows += [_points(f"recall {name}", before.recall[name], after.recall[name]) for name in labels]
    return rows


def lay_out(rows: Sequence[Row]) -> list[str]:
    """Rows as aligned lines, the first column to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in rows
    ]


def verdict_line(verdict: Verdict, gate: Sequence[Check]) -> str:
    """The verdict with what stood in its way."""
    if verdict == "failed":
        failed = "; ".join(
            f"{check.name} is {_figure(check, check.figure)}, allowed {_figure(check, check.limit)}"
            for check in gate
            if not check.passed
        )
        return f"verdict: failed ({failed})"
    if verdict == "unproven":
        return "verdict: unproven (give --data with enough labelled pictures, such as a folder of class folders)"
    return "verdict: passed"


def _figure(check: Check, value: float) -> str:
    return f"{value:.2f} points" if check.note.startswith("points") else f"{value:.3f}"


def _points(name: str, before: float | None, after: float | None) -> Row:
    if before is None or after is None:
        return name, "-", "-", ""
    return name, f"{before:.2%}", f"{after:.2%}", f"{100 * (after - before):+.2f}"


def _rows(rows: Rows) -> str:
    return f"{rows.count:,} {rows.source}"


def _kilobytes(size: int) -> str:
    return f"{size / 1000:,.1f} kB"
