"""report.html: one page that proves a conversion, complete without network, script or other files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from converters.proof import page_plots as plots
from converters.proof import page_tables as tables
from converters.proof.markup import Child, Markup, tag
from converters.proof.page_pictures import pictures_shown
from converters.proof.page_words import listed, milliseconds, outcome, percent, rows, size, timed, times
from converters.proof.report import FileFacts, Report

# Nothing is loaded and nothing runs, whatever stands in the page.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
NO_LABELS = (
    "Nothing that was measured on has labels, so accuracy, recall and confusion are unknown. "
    "Give --data with labelled pictures, such as a folder of class folders."
)


def page(reports: Sequence[Report], pictures: NDArray[np.uint8] | None = None) -> bytes:
    """All formats of one conversion as one page.

    Args:
        reports: one for each format, at least one.
        pictures: uint8 (N, height, width, channels) that were calibrated with, when they may be shown.

    Returns:
        The content of an .html file; the same for the same reports.
    """
    first = reports[0]
    said = outcome(reports)
    sections = [
        ("formats", "Formats", [tables.formats(reports), _notes(reports)]),
        ("plots", "Size, accuracy and latency", _plots(reports)),
        ("classes", "Recall of each class" if _labelled(reports) else "Accuracy, recall, confusion", _classes(reports)),
        ("confusion", "Confusion", _confusion(reports)),
        ("layers", "INT8 layer by layer", _layers(reports)),
        ("gate", "The gate", _gate(reports)),
        ("confidence", "Confidence", _confidence(reports)),
        ("files", "What went in, what came out", _files(reports)),
        ("pictures", "Calibrated with", _pictures(reports, pictures)),
        ("recipe", "How to repeat it", _recipe(reports)),
    ]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{first.source.file}: {said.verdict}"),
        # Browsers would ask a server for one.
        tag("link", rel="icon", href="data:,"),
        tag("style", Markup(resources.files(__package__).joinpath("page.css").read_text("utf-8"))),
    )
    present = [(ident, title, content) for ident, title, content in sections if content]
    body = tag(
        "body",
        _header(reports),
        tag(
            "nav", tag("ul", [tag("li", tag("a", title, href=f"#{ident}")) for ident, title, _ in present]), aria_label="Sections"
        ),
        tag("main", [tag("section", tag("h2", title), content, id=ident) for ident, title, content in present]),
        tag("footer", tag("p", f"Written by edge-convert of emotion-edge {first.versions.get('emotion-edge', '')}.")),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n".encode()


def _header(reports: Sequence[Report]) -> Markup:
    first, said = reports[0], outcome(reports)
    warnings = list(dict.fromkeys(warning for report in reports for warning in report.warnings))
    return tag(
        "header",
        tag(
            "p", "Conversion report ", tag("time", f"{first.at[:10]} {first.at[11:16]} UTC", datetime=first.at), class_="eyebrow"
        ),
        tag("h1", [[part, tag("wbr")] for part in re.split(r"(?<=[._-])", first.source.file)]),
        tag(
            "div",
            tag("p", tag("span", tables.SIGNS[said.verdict], aria_hidden="true"), f" {said.headline}", class_="headline"),
            [tag("p", sentence) for sentence in said.sentences],
            class_=f"verdict {said.verdict}",
        ),
        tag(
            "div",
            tag("h2", "Warnings"),
            tag("ul", [tag("li", warning) for warning in warnings]),
            class_="warnings",
        )
        if warnings
        else None,
        _tiles(reports),
    )


def _tiles(reports: Sequence[Report]) -> Markup:
    """The figure that most people ask for first, of each kind."""
    several = len(reports) > 1
    small = min(reports, key=lambda report: report.converted.bytes)
    smaller = times(small.reference.bytes, small.converted.bytes, "smaller", "larger")
    tiles = [("Smallest" if several else "Size", size(small.converted.bytes), f"{small.format_name}, {smaller}")]
    ran = [(found[1], found[0], report.format_name) for report in reports if (found := timed(report)) is not None]
    if ran:
        after, before, name = min(ran)
        where = "Fastest where it was converted" if several else "Latency where it was converted"
        tiles.append((where, milliseconds(after), f"{name}, {times(before, after, 'faster', 'slower')}"))
    known = [report for report in reports if report.converted.accuracy is not None]
    if known:
        low = min(known, key=lambda report: report.converted.accuracy or 0.0)
        tiles.append(
            (
                "Lowest accuracy" if several else "Accuracy",
                percent(low.converted.accuracy),
                f"{low.format_name}, {percent(low.reference.accuracy)} as float",
            )
        )
    else:
        tiles.append(("Accuracy", "unknown", "nothing was labelled"))
    sure = [report for report in reports if report.agreement is not None]
    if sure:
        least = min(sure, key=lambda report: report.agreement or 0.0)
        tiles.append(
            (
                "Least agreement" if several else "Agreement",
                percent(least.agreement),
                f"{least.format_name}, same answer as float",
            )
        )
    else:
        tiles.append(("Agreement", "unknown", "these pictures say nothing"))
    return tag(
        "dl",
        [tag("div", tag("dt", name), tag("dd", value), tag("dd", says, class_="says")) for name, value, says in tiles],
        class_="tiles",
    )


def _notes(reports: Sequence[Report]) -> Markup:
    """Notes of all formats once, those of some with their names."""
    notes = dict.fromkeys(note for report in reports for note in report.notes)
    items = []
    for note in notes:
        about = [report.format_name for report in reports if note in report.notes]
        items.append(tag("li", None if len(about) == len(reports) else tag("b", f"{listed(about)}: "), note))
    return tag("ul", items, class_="notes")


def _plots(reports: Sequence[Report]) -> Child:
    accuracy = plots.accuracies(reports)
    drawn = [plots.sizes(reports), accuracy, plots.latencies(reports)]
    return [
        tag("div", drawn, class_="plots"),
        tag("p", "Without labels there is no accuracy to be drawn.", class_="quiet") if accuracy is None else None,
        tag("p", _latency(reports), class_="quiet"),
    ]


def _latency(reports: Sequence[Report]) -> str:
    if all(timed(report) is None for report in reports):
        return "Latency is unknown: nothing could be timed."
    return (
        f"Latency was measured on the machine that converted ({reports[0].versions.get('machine', 'unknown')}). "
        "Another processor may put the formats in another order: edge-bench measures them on the board."
    )


def _labelled(reports: Sequence[Report]) -> bool:
    return all(report.reference.recall and report.converted.recall for report in reports)


def _classes(reports: Sequence[Report]) -> Child:
    return [plots.recalls(reports), tables.recalls(reports)] if _labelled(reports) else tag("p", NO_LABELS)


def _confusion(reports: Sequence[Report]) -> Child:
    if not _labelled(reports):
        return None
    how = "Each line is a true class, each column what the network said: per cent of the line, and rows below."
    return [tag("p", how, class_="quiet"), tables.confusions(reports)]


def _layers(reports: Sequence[Report]) -> Child:
    content: list[Child] = []
    for number, report in enumerate(reports):
        if not (report.layers or report.in_float):
            continue
        content.append(tag("h3", report.format_name))
        content.append(tables.bought(report))
        if report.in_float and report.before_in_float is None:
            content.append(tag("p", f"Left in float: {listed(list(dict.fromkeys(report.in_float)))}."))
        if report.layers:
            content += [plots.noise(report, number), tag("details", tag("summary", "All layers"), tables.layers(report))]
    return content


def _gate(reports: Sequence[Report]) -> Child:
    return tag("div", [tables.gate(report) for report in reports], class_="gates")


def _confidence(reports: Sequence[Report]) -> Child:
    judged = [(report.format_name, report.confidence) for report in reports if report.confidence is not None]
    if not judged:
        return tag("p", "Nothing that was measured on has labels, so nobody knows what its confidence is worth.", class_="quiet")
    how = "The temperature divides the logits, so that 80 % confidence means right in 80 of 100 cases; the device applies it."
    return [tag("p", how, class_="quiet"), tables.confidences(judged)]


def _files(reports: Sequence[Report]) -> Child:
    first = reports[0]
    spec = first.input
    pruned = first.pruned
    lines: list[tuple[str, Child]] = [
        ("Went in", _file(first.source)),
        ("Loaded by", first.loaded_by),
        ("Input", f"{spec.height}×{spec.width} {spec.color}, resized by {spec.resize}"),
        ("Pixels become", f"(x − {_numbers(spec.mean)}) × {_numbers(spec.scale)}; {first.preprocessing}"),
        ("Output", f"{first.output.kind} of {len(first.labels)} classes"),
        ("Classes", tag("ol", [tag("li", label) for label in first.labels], class_="labels")),
        ("Measured on", rows(first.measured)),
    ]
    if pruned is not None:
        parameters = f"{pruned.parameters_before:,} weights before, {pruned.parameters:,} now"
        learned = f", {pruned.epochs} epochs of fine-tuning" if pruned.epochs else ""
        scope = "Size and latency of float are those of the pruned network, its accuracy that of the network that went in."
        lines.insert(2, ("Pruned", f"{percent(pruned.ratio, 0)} of the channels: {parameters}{learned}. {scope}"))
    written = first.verdict != "failed" and all(report.verdict != "failed" for report in reports)
    came = tag("ul", [tag("li", _file(report.artifact)) for report in reports], class_="plain")
    lines.insert(1, ("Came out" if written else "Came out, but was not kept", came))
    used = ", ".join(f"{name} {version}" for name, version in first.versions.items())
    return tables.facts([*lines, ("Versions", used)])


def _file(facts: FileFacts) -> list[Child]:
    sha = tag("code", facts.sha256[:12], title=f"sha256 {facts.sha256}")
    return [tag("b", facts.file), f" {size(facts.bytes)}, sha256 ", sha]


def _numbers(values: Sequence[float]) -> str:
    return " | ".join(f"{value:.6g}" for value in values)


def _pictures(reports: Sequence[Report], pictures: NDArray[np.uint8] | None) -> Child:
    if pictures is None or not len(pictures) or all(report.calibrated is None for report in reports):
        return None
    return pictures_shown(pictures, reports[0].input)


def _recipe(reports: Sequence[Report]) -> Child:
    first = reports[0]
    lines: list[tuple[str, Child]] = [("Seed", str(first.seed))]
    for report in reports:
        if report.ranges is not None:
            given = "given by an earlier conversion" if report.ranges.given else f"by {report.ranges.method}"
            ranges = [f"{given}, sha256 ", tag("code", report.ranges.sha256[:12], title=f"sha256 {report.ranges.sha256}")]
            lines.append((f"Ranges of {report.format_name}", ranges))
    calibrated = next((report.calibrated for report in reports if report.calibrated is not None), None)
    for name, used in (("Calibrated with", calibrated), ("Measured on", first.measured)):
        if used is not None:
            lines.append((name, [f"{rows(used)}, sha256 ", tag("code", used.sha256[:12], title=f"sha256 {used.sha256}")]))
    if calibrated is None:
        lines.append(("Calibrated with", "nothing new: no range was observed"))
    command = tag("pre", tag("code", first.command), class_="command", tabindex="0", aria_label="Command")
    return [command, tag("p", "One click selects it.", class_="quiet screen"), tables.facts(lines)]
