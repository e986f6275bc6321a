"""The tables of a page, from its reports."""

from __future__ import annotations

from collections.abc import Sequence

from converters.proof.compare import Check, Verdict
from converters.proof.evaluate import Confidence
from converters.proof.markup import Child, Markup, tag
from converters.proof.page_plots import READABLE, worst_layers
from converters.proof.page_words import (
    MINUS,
    change,
    check_figure,
    decibel,
    in_points,
    listed,
    milliseconds,
    percent,
    points,
    remark,
    size,
    timed,
)
from converters.proof.report import Figures, Report

SIGNS = {"passed": "✓", "failed": "✕", "unproven": "?"}


def verdict(which: Verdict, loud: bool = True) -> Markup:
    """A verdict as a sign and a word, on a ground of its own when it is to be seen first."""
    return tag("span", tag("span", SIGNS[which], aria_hidden="true"), f" {which}", class_=f"chip {which}" if loud else "quiet")


def formats(reports: Sequence[Report]) -> Markup:
    """Every format in one line, below the float network."""
    head = ("format", "size", "latency", "accuracy", "macro-F1", "agreement", "largest difference", "verdict")
    turns = [times[0] for report in reports if (times := timed(report)) is not None]
    first = reports[0].reference
    body = [
        _line(
            head,
            ["float32", _small("as TFLite")],
            size(first.bytes),
            _spread(turns),
            _share(first.accuracy),
            _share(first.macro_f1),
            "",
            "",
            "",
        ),
        *(_line(head, *_cells(report)) for report in reports),
    ]
    return _table("All formats beside the float network they were made of", head, body, cards=True)


def _cells(report: Report) -> list[Child]:
    before, after = report.reference, report.converted
    mixed = f"{len(set(report.in_float))} of its layers in float" if report.in_float else None
    return [
        [report.format_name, _small(report.artifact.file), None if mixed is None else _small(mixed)],
        [size(after.bytes), _small(change(before.bytes, after.bytes))],
        [milliseconds(after.latency_ms), _small(change(before.latency_ms, after.latency_ms))],
        _moved(before.accuracy, after.accuracy),
        _moved(before.macro_f1, after.macro_f1),
        _share(report.agreement),
        f"{report.largest_difference:.3f}",
        verdict(report.verdict),
    ]


def _spread(turns: Sequence[float]) -> Child:
    """From the shortest to the longest: each format was timed in turns with the float network anew."""
    if not turns:
        return _share(None)
    ends = milliseconds(min(turns)), milliseconds(max(turns))
    return ends[0] if ends[0] == ends[1] else f"{ends[0].removesuffix('ms').rstrip()}–{ends[1]}"


def recalls(reports: Sequence[Report]) -> Markup:
    """Recall of each class; of reports with labels."""
    first = reports[0].reference
    counts = [sum(row) for row in first.confusion or []]
    head = ("class", "rows", "float32", *(report.format_name for report in reports))
    body = []
    for name, count in zip(first.recall or {}, counts, strict=True):
        before = (first.recall or {})[name]
        after = [_moved(before, (report.converted.recall or {})[name], 1) for report in reports]
        body.append(_line(head, name, f"{count:,}", _share(before, 1), *after))
    return _table("Recall of each class, with the change in points", head, body)


def confusions(reports: Sequence[Report]) -> Markup:
    """The float network's matrix, and each format's."""
    labels = reports[0].labels
    if len(labels) > READABLE:
        return tag("p", f"{len(labels)} classes are too many for a matrix on a page; the report in JSON has it.", class_="quiet")
    sides = [("float32", reports[0].reference), *((report.format_name, report.converted) for report in reports)]
    return tag("div", [_matrix(name, labels, side) for name, side in sides], class_="matrices")


def _matrix(name: str, labels: Sequence[str], side: Figures) -> Markup:
    lines = []
    for true, counts in enumerate(side.confusion or []):
        rows = max(sum(counts), 1)
        cells = [
            tag(
                "td",
                tag("b" if said == true else "span", f"{100 * count / rows:.0f}"),
                _small(f"{count:,}"),
                style=f"--s:{count / rows:.3f}",
            )
            for said, count in enumerate(counts)
        ]
        lines.append(tag("tr", tag("th", tag("span", labels[true]), scope="row", title=labels[true]), cells))
    heads = [tag("th", tag("span", label), scope="col", title=label) for label in labels]
    return _scrolled(
        f"Confusion matrix of {name}",
        tag(
            "table",
            tag("caption", name),
            tag("thead", tag("tr", tag("td", "true ↓", _small("said →"), class_="corner"), heads)),
            tag("tbody", lines),
            class_="matrix",
        ),
    )


def gate(report: Report) -> Markup:
    """What was asked of one format, and what was found."""
    head = ("check", "found, points" if any(map(in_points, report.gate)) else "found", "allowed", "result")
    body = [
        _line(
            head,
            [check.name, None if _error(check) or not remark(check) else _small(remark(check))],
            [check_figure(check, check.figure), tag("span", _error(check), class_="quiet")],
            _allowed(check),
            verdict("passed" if check.passed else "failed", loud=not check.passed),
        )
        for check in report.gate
    ]
    if not body:
        return tag("p", f"{report.format_name}: nothing could be checked.", class_="quiet")
    return _table([report.format_name, " ", verdict(report.verdict)], head, body, about=f"Gate of {report.format_name}")


def _error(check: Check) -> str | None:
    before, found, error = remark(check).partition("standard error ")
    return f" ± {error}" if found and not before else None


def _allowed(check: Check) -> str:
    return f"{'≥' if check.name == 'agreement' else '≤'} {check_figure(check, check.limit)}"


def confidences(judged: Sequence[tuple[str, Confidence]]) -> Markup:
    """What the probabilities are worth."""
    head = ("format", "temperature", "it was", "calibration error before", "after", "−log p(true class) before", "after")
    body = [
        _line(
            head,
            name,
            f"{sure.temperature:g}",
            sure.how,
            percent(sure.ece_before),
            percent(sure.ece_after),
            f"{sure.nll_before:.3f}",
            f"{sure.nll_after:.3f}",
        )
        for name, sure in judged
    ]
    return _table(f"Measured on {judged[0][1].rows:,} labelled rows", head, body, cards=True)


def layers(report: Report) -> Markup:
    """Every layer's noise, the worst marked."""
    worst = worst_layers(report.layers, "here_db")
    alone = any(layer.alone_db is not None for layer in report.layers)
    head = ("layer", "operator", "noise here", *(("it alone",) if alone else ()))
    body = [
        _line(
            head,
            [layer.layer, _small("left in float") if layer.in_float else None, _small("worst") if layer in worst else None],
            layer.kind,
            decibel(layer.here_db),
            *(("" if layer.alone_db is None else decibel(layer.alone_db),) if alone else ()),
        )
        for layer in report.layers
    ]
    return _table("Signal to noise at each layer, in the order in which they run", head, body)


def bought(report: Report) -> Markup | None:
    """What leaving layers in float was for; None where none were."""
    before, after, kept = report.before_in_float, report, list(dict.fromkeys(report.in_float))
    if before is None:
        return None
    head = ("", "all in INT8", f"{len(kept)} in float", "change")
    body = [
        _line(head, "verdict", verdict(before.verdict), verdict(after.verdict), ""),
        _line(head, "size", size(before.bytes), size(after.artifact.bytes), change(before.bytes, after.artifact.bytes)),
        _line(
            head,
            "accuracy",
            percent(before.accuracy),
            percent(after.converted.accuracy),
            points(before.accuracy, after.converted.accuracy),
        ),
        _line(
            head,
            "same answer as float",
            percent(before.agreement),
            percent(after.agreement),
            points(before.agreement, after.agreement),
        ),
    ]
    return _table(f"{report.format_name}: what leaving {listed(kept)} in float bought", head, body)


def facts(lines: Sequence[tuple[str, Child]]) -> Markup:
    """Names and what they stand for."""
    return tag("dl", [[tag("dt", name), tag("dd", value)] for name, value in lines], class_="facts")


def _share(value: float | None, digits: int = 2) -> Child:
    return tag("span", "unknown", class_="quiet") if value is None else percent(value, digits)


def _moved(before: float | None, after: float | None, digits: int = 2) -> Child:
    if after is None:
        return _share(after)
    moved = points(before, after)
    return [percent(after, digits), _small(moved, "down" if moved.startswith(MINUS) else None)]


def _small(words: str, kind: str | None = None) -> Markup:
    return tag("small", words, class_=kind)


def _line(head: Sequence[str], *cells: Child) -> Markup:
    # The roles say what a narrow screen's styles would take away: there a line is shown as a card.
    named = zip(head[1:], cells[1:], strict=True)
    rest = [tag("td", cell, role="cell", data_label=name, class_=None if cell else "empty") for name, cell in named]
    return tag("tr", tag("th", cells[0], scope="row", role="rowheader"), rest, role="row")


def _table(caption: Child, head: Sequence[str], body: Sequence[Markup], cards: bool = False, about: str = "") -> Markup:
    columns = tag("tr", [tag("th", name, scope="col", role="columnheader") if name else tag("td") for name in head], role="row")
    table = tag(
        "table",
        tag("caption", caption),
        tag("thead", columns, role="rowgroup"),
        tag("tbody", body, role="rowgroup"),
        role="table",
        class_="cards" if cards else None,
    )
    return _scrolled(about or (caption if isinstance(caption, str) else ""), table)


def _scrolled(about: str, table: Markup) -> Markup:
    # Focusable, so that a keyboard can move what is wider than the screen.
    return tag("div", table, class_="wide", role="region", aria_label=about, tabindex="0")
