"""What the page says in words: figures for people, and the verdict of a whole conversion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from calibration.noise import SILENT
from converters.proof.compare import Check, Verdict
from converters.proof.report import Report, Rows

# U+2212: a hyphen before a figure is easily overlooked. U+00A0 keeps a figure and its unit on one line.
MINUS, TIE = "\u2212", "\u00a0"
UNKNOWN = "unknown"


class Said(NamedTuple):
    """The outcome of a conversion.

    Attributes:
        verdict: the worst of its formats'.
        headline: in a few words.
        sentences: what that means and what to do.
    """

    verdict: Verdict
    headline: str
    sentences: tuple[str, ...]


def outcome(reports: Sequence[Report]) -> Said:
    """May it be deployed, and why not."""
    failed = [report for report in reports if report.verdict == "failed"]
    good = [report.format_name for report in reports if report.verdict != "failed"]
    first = reports[0]
    if failed:
        sentences = [f"{report.format_name} failed the gate: {'; '.join(map(breach, breaches(report)))}." for report in failed]
        sentences.append("Nothing was written but this page and the failed reports; what was there before is as it was.")
        if good:
            sentences.append(f"{listed(good)} would have passed: ask for {'it' if len(good) == 1 else 'them'} alone.")
        return Said("failed", "Failed. There is nothing to deploy.", tuple(sentences))
    wrote = f"{first.source.file} became {listed([report.artifact.file for report in reports])}."
    if any(report.verdict == "unproven" for report in reports):
        return Said("unproven", "Unproven. Measure it before you deploy it.", (wrote, _doubt(first)))
    return Said(
        "passed",
        "Passed. It may be deployed.",
        (wrote, f"On {rows(first.measured)} {_each(len(reports))} as good as the original, within the limits that were set."),
    )


def _each(count: int) -> str:
    return {1: "it is", 2: "both are"}.get(count, f"all {count} are")


def _doubt(report: Report) -> str:
    more = "Convert again with --data and enough labelled pictures, such as a folder of class folders."
    if report.converted.accuracy is not None:
        return f"{rows(report.measured)} are too few to tell: one of them is worth more than the drop that is allowed. {more}"
    if report.agreement is None:
        return f"Nobody knows how accurate it is, and {rows(report.measured)} say nothing about it. {more}"
    return f"It answers as the original does on {rows(report.measured)}, but nobody knows how accurate either is. {more}"


def breaches(report: Report) -> list[Check]:
    """The checks that failed."""
    return [check for check in report.gate if not check.passed]


def breach(check: Check) -> str:
    """One failed check as words."""
    unit = f"{TIE}points" if in_points(check) else ""
    more = f" ({found})" if (found := remark(check)) else ""
    return f"{check.name} is {check_figure(check, check.figure)}{unit}, allowed {check_figure(check, check.limit)}{unit}{more}"


def check_figure(check: Check, value: float) -> str:
    """A figure or a limit: points without their unit, else per cent with it."""
    return _minus(f"{value:.2f}" if round(value, 2) else "0.00") if in_points(check) else percent(value)


def in_points(check: Check) -> bool:
    """Whether it counts in points; else it is a fraction."""
    return check.note.startswith("points")


def remark(check: Check) -> str:
    """What its note says besides the unit."""
    return check.note.removeprefix("points").removeprefix(", ")


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def rows(used: Rows) -> str:
    """How many of what."""
    return f"{used.count:,}{TIE}{used.source}"


def size(count: float) -> str:
    """Bytes."""
    return f"{count / 1e6:,.2f}{TIE}MB" if count >= 1e6 else f"{count / 1e3:,.1f}{TIE}kB"


def milliseconds(value: float | None) -> str:
    """Three digits, at most three behind the point."""
    return UNKNOWN if value is None else f"{value:,.{3 if value < 10 else 2 if value < 100 else 1}f}{TIE}ms"


def percent(share: float | None, digits: int = 2) -> str:
    """A fraction."""
    return UNKNOWN if share is None else f"{_minus(f'{100 * share:.{digits}f}')}{TIE}%"


def points(before: float | None, after: float | None) -> str:
    """What became of a fraction, in points; nothing where either is unknown."""
    return "" if before is None or after is None else _signed(100 * (after - before), 2)


def change(before: float | None, after: float | None) -> str:
    """What became of an amount, in per cent of it; nothing where either is unknown."""
    return f"{_signed(100 * (after / before - 1), 0)}{TIE}%" if before and after is not None else ""


def timed(report: Report) -> tuple[float, float] | None:
    """Latency of the float network and of the artifact, or None where they could not be timed."""
    before, after = report.reference.latency_ms, report.converted.latency_ms
    return None if before is None or after is None else (before, after)


def times(before: float, after: float, less: str, more: str) -> str:
    """`2.3 times smaller than float`; both above zero."""
    ratio = before / after
    if 0.995 < ratio < 1.005:
        return "the same as float"
    factor = max(ratio, 1 / ratio)
    return f"{factor:,.{1 if factor >= 1.095 else 2}f} times {less if ratio > 1 else more} than float"


def decibel(value: float) -> str:
    """A ratio of signal to noise."""
    return "no noise" if value >= SILENT else f"{_minus(f'{value:.1f}')}{TIE}dB"


def _signed(value: float, digits: int) -> str:
    shown = f"{value:+.{digits}f}"
    # No -0.00.
    return _minus(shown if float(shown) else f"{0:.{digits}f}")


def _minus(shown: str) -> str:
    return shown.replace("-", MINUS)
