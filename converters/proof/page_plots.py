"""The plots of a page, from its reports."""

from __future__ import annotations

import math
from collections.abc import Sequence

from calibration.noise import SILENT
from converters.compress.sensitivity import LayerNoise
from converters.proof.markup import Child, Markup, tag
from converters.proof.page_words import change, decibel, milliseconds, percent, points, size, timed
from converters.proof.report import WORST, Report
from converters.proof.svg import SHAPES, Row, by_classes, by_rows, in_order, key, scale

# More classes than this nobody compares by eye.
READABLE = 30


def sizes(reports: Sequence[Report]) -> Markup:
    """How large each file is."""
    largest = max(max(report.converted.bytes, report.reference.bytes) for report in reports)
    unit, name = (1e6, "MB") if largest >= 1e6 else (1e3, "kB")
    lines = [
        Row(
            report.format_name,
            size(report.converted.bytes),
            change(report.reference.bytes, report.converted.bytes),
            report.converted.bytes / unit,
            report.reference.bytes / unit,
        )
        for report in reports
    ]
    of = scale([value for line in lines for value in (line.value, line.before)])
    return _figure(
        "Size", by_rows("size", "Size of each file", f"size of the file, {name}", lines, of), "the float network as TFLite"
    )


def latencies(reports: Sequence[Report]) -> Markup | None:
    """How long one picture takes; None where nothing could be timed."""
    lines = [
        Row(report.format_name, milliseconds(times[1]), change(*times), times[1], times[0])
        for report in reports
        if (times := timed(report)) is not None
    ]
    if not lines:
        return None
    of = scale([value for line in lines for value in (line.value, line.before)])
    plot = by_rows("latency", "Latency of one call", "median of single calls on one thread, ms", lines, of)
    return _figure("Latency", plot, "the float network as TFLite, in turns with it")


def accuracies(reports: Sequence[Report]) -> Markup | None:
    """How often each is right, None without labels."""
    lines, limits = [], []
    for report in reports:
        before, after = report.reference.accuracy, report.converted.accuracy
        if before is None or after is None:
            return None
        error = math.sqrt(after * (1 - after) / report.measured.count)
        lines.append(Row(report.format_name, percent(after), points(before, after), 100 * after, 100 * before, 100 * error))
        limits += [100 * before - check.limit for check in report.gate if check.name == "accuracy drop"]
    # A limit that nothing could reach would push everything else to the side.
    limit = next((value for value in limits if value > 0 and value <= max(line.before for line in lines)), None)
    ends = [end for line in lines for end in (line.value - line.error, line.value + line.error, line.before)]
    of = scale([*ends, *([] if limit is None else [limit])], zero=False)
    plot = by_rows(
        "accuracy", "Accuracy of each file", "accuracy, % (the axis does not begin at 0)", lines, of, limit, bars=False
    )
    return _figure(
        "Accuracy",
        plot,
        "the float network",
        None if limit is None else [key("limit"), " the least that was allowed"],
        "whiskers: one standard error",
    )


def recalls(reports: Sequence[Report]) -> Markup:
    """What became of each class; only of reports with labels, and of the classes that moved most where they are many."""
    first = reports[0].reference.recall or {}
    columns = [report.converted.recall or {} for report in reports]
    groups = [
        (name, before, [value for column in columns if (value := column.get(name)) is not None])
        for name, before in first.items()
        if before is not None
    ]
    moved = sorted(groups, key=lambda group: -max(abs(value - group[1]) for value in group[2]))[:READABLE]
    shown = [group for group in groups if group in moved]
    says = "; ".join(
        f"{name}: {percent(before, 1)} as float, {', '.join(percent(value, 1) for value in after)}"
        for name, before, after in shown
    )
    plot = by_classes("recall", "Recall of each class, before and after", "recall, % of the true class", shown, says)
    names = [[key(SHAPES[index % len(SHAPES)]), f" {report.format_name}"] for index, report in enumerate(reports)]
    few = f"the {len(shown)} classes of {len(groups)} that moved most" if len(shown) < len(groups) else None
    return _figure(None, plot, "the float network", *names, few)


def noise(report: Report, number: int) -> Markup:
    """Signal to noise along the layers of one INT8 network, and which are worst."""
    content: list[Child] = [_noise(f"noise-{number}", "Signal to quantization noise at each layer", report.layers, "here_db")]
    if any(layer.alone_db is not None for layer in report.layers):
        content.append(_noise(f"alone-{number}", "The same at the network’s answer, each layer alone", report.layers, "alone_db"))
    return tag("div", content, class_="pair" if len(content) > 1 else None)


def worst_layers(layers: Sequence[LayerNoise], figure: str) -> list[LayerNoise]:
    """The few with the lowest figure, but for those that were left in float where their own noise is asked for."""
    known = [layer for layer in layers if getattr(layer, figure) is not None and getattr(layer, figure) < SILENT]
    if figure == "here_db":
        known = [layer for layer in known if not layer.in_float]
    return sorted(known, key=lambda layer: getattr(layer, figure))[:WORST]


def _noise(ident: str, title: str, layers: Sequence[LayerNoise], figure: str) -> Markup:
    known = [layer for layer in layers if getattr(layer, figure) is not None]
    worst = worst_layers(layers, figure)
    if not any(getattr(layer, figure) < SILENT for layer in known):
        return tag("div", tag("h4", title), tag("p", "No layer has any noise.", class_="quiet"))
    values = [getattr(layer, figure) for layer in known]
    says = "worst: " + ", ".join(f"{layer.layer} {decibel(getattr(layer, figure))}" for layer in worst)
    plot = in_order(
        ident,
        title,
        says,
        [value if value < SILENT else math.inf for value in values],
        [known.index(layer) for layer in worst],
        [index for index, layer in enumerate(known) if layer.in_float],
    )
    named = [tag("li", tag("b", layer.layer), f" {layer.kind} ", _figures(getattr(layer, figure), layer)) for layer in worst]
    return tag(
        "figure",
        tag("h4", title),
        plot,
        tag("figcaption", "More is better: 6 dB more is half the error. Worst:", tag("ol", named, class_="worst")),
    )


def _figures(value: float, layer: LayerNoise) -> Markup:
    return tag("span", decibel(value), ", now in float" if layer.in_float else None, class_="num")


def _figure(title: str | None, plot: Markup, before: str, *more: Child) -> Markup:
    entries = [[key("before"), f" {before}"], *more]
    items = [tag("li", entry) for entry in entries if entry]
    return tag("figure", None if title is None else tag("h3", title), plot, tag("figcaption", tag("ul", items, class_="legend")))
