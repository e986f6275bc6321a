"""What was measured and chosen: a table for people, one JSON object for fleets, and the lines for the configuration."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

import edge
from edge.bench.candidates import CPU, TENSORRT, Candidate, Gpu, LeftOut
from edge.bench.choose import Budget, Choice, Standing, behind, drop, standing
from edge.bench.machine import Machine
from edge.bench.measure import Measured
from edge.bench.words import baseline, delegate_name, label, times, way
from edge.runtime import XNNPACK

FORMAT = 1


class Row(msgspec.Struct, frozen=True):
    """One candidate with all its figures; see docs/bench.md for every key."""

    model: str
    sha256: str | None
    format: str | None
    bytes: int
    threads: int | None
    delegate: str | None
    precision: str | None
    runtime: str | None
    median_ms: float | None
    p95_ms: float | None
    rounds_ms: tuple[float, ...]
    calls: int
    ratio: float | None
    accuracy: float | None
    float_accuracy: float | None
    drop: float | None
    behind: float | None
    agreement: float | None
    verdict: str | None
    standing: Standing | None
    left_out: str | None
    chosen: bool


class Chosen(msgspec.Struct, frozen=True):
    """The configuration that edge-run needs: the keys of its section [model].

    Attributes:
        tensorrt: the keys of its section [tensorrt]; None where its defaults do.
    """

    path: str
    threads: int
    delegate: str
    tensorrt: dict[str, str] | None = None


class Bench(msgspec.Struct, frozen=True):
    """One run of edge-bench."""

    format: int
    machine: Machine
    versions: dict[str, str]
    seed: int
    max_drop: float
    unproven: bool
    candidates: tuple[Row, ...]
    choice: Chosen | None
    why: tuple[str, ...]
    notes: tuple[str, ...]


def report(
    machine: Machine,
    measured: Sequence[Measured],
    left_out: Sequence[LeftOut],
    choice: Choice,
    budget: Budget,
    seed: int,
    why: Sequence[str],
    notes: Sequence[str],
    gpu: Gpu | None,
) -> Bench:
    """Put everything together, the fastest first and what could not be measured last."""
    against = baseline(measured)
    rows = [_row(one, budget, against, choice) for one in sorted(measured, key=lambda one: one.median_ms)]
    rows += [_empty(one.candidate, one.reason) for one in left_out]
    chosen = None if choice.chosen is None else config(choice.chosen.candidate, gpu)
    found = versions(measured)
    return Bench(FORMAT, machine, found, seed, budget.max_drop, budget.unproven, tuple(rows), chosen, tuple(why), tuple(notes))


def versions(measured: Sequence[Measured]) -> dict[str, str]:
    """Of everything that the figures depend on."""
    found = {"emotion-edge": edge.__version__, "python": platform.python_version(), "numpy": version("numpy")}
    for one in measured:
        package, _, number = one.runtime.partition(" ")
        # A precision after TensorRT's is the engine's.
        found[package] = number.partition(" ")[0] if one.candidate.delegate == TENSORRT else number
    return found


def config(candidate: Candidate, gpu: Gpu | None) -> Chosen:
    """The settings under which edge-run runs a candidate on this machine."""
    path, threads = str(Path(candidate.model).absolute()), candidate.threads or 1
    if candidate.delegate not in (CPU, TENSORRT):
        return Chosen(path, threads, candidate.delegate or XNNPACK)
    if gpu is None:
        return Chosen(path, threads, XNNPACK)
    if candidate.delegate == CPU:
        # Else edge-run would take TensorRT, because it is there.
        return Chosen(path, threads, XNNPACK, {"use": "off"})
    asked = "auto" if candidate.precision in (None, "typed") else candidate.precision
    given = {"use": "auto", "precision": asked, "python": gpu.settings.python, "cache": gpu.settings.cache}
    return Chosen(path, threads, XNNPACK, {key: value for key, value in given.items() if value is not None})


def config_lines(chosen: Chosen) -> str:
    """The same as TOML; what is the default anyway is left out, except the threads."""
    lines = ["[model]", f"path = {json.dumps(chosen.path, ensure_ascii=False)}", f"threads = {chosen.threads}"]
    if chosen.delegate != XNNPACK:
        lines.append(f"delegate = {json.dumps(chosen.delegate, ensure_ascii=False)}")
    if chosen.tensorrt is not None:
        lines += [
            "",
            "[tensorrt]",
            *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in chosen.tensorrt.items()),
        ]
    return "\n".join(lines)


def table(measured: Sequence[Measured], choice: Choice, budget: Budget) -> str:
    """The measured candidates as aligned lines, the fastest first, the chosen one marked."""
    against = baseline(measured)
    if against is None:
        return "nothing could be measured"
    head = f"vs {label(against.candidate, [one.candidate for one in measured])}"
    rows = [("", "model", "format", "threads", "delegate", "median ms", "p95 ms", head, "accuracy", "agreement", "verdict")]
    for one in sorted(measured, key=lambda one: one.median_ms):
        candidate, metrics = one.candidate, one.candidate.metrics
        rows.append(
            (
                "*" if one is choice.chosen else "",
                candidate.name,
                candidate.format or "-",
                "-" if candidate.threads is None else f"{candidate.threads}",
                delegate_name(candidate) or "-",
                f"{one.median_ms:.3f}",
                f"{one.p95_ms:.3f}",
                times(against.median_ms / one.median_ms),
                _percent(metrics.accuracy),
                _percent(metrics.agreement),
                standing(candidate, budget.max_drop, choice.best),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    words = {0, 1, 2, 4, 10}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def left_out_lines(left_out: Sequence[LeftOut]) -> list[str]:
    """One line for each candidate that was not measured to the end."""
    return [
        f"left out: {one.candidate.name}{f' ({how})' if (how := way(one.candidate)) else ''}: {one.reason}" for one in left_out
    ]


def _row(one: Measured, budget: Budget, against: Measured | None, choice: Choice) -> Row:
    return msgspec.structs.replace(
        _empty(one.candidate, None),
        runtime=one.runtime,
        median_ms=one.median_ms,
        p95_ms=one.p95_ms,
        rounds_ms=one.rounds_ms,
        calls=one.calls,
        ratio=None if against is None else against.median_ms / one.median_ms,
        behind=behind(one.candidate, choice.best),
        standing=standing(one.candidate, budget.max_drop, choice.best),
        chosen=one is choice.chosen,
    )


def _empty(candidate: Candidate, reason: str | None) -> Row:
    metrics = candidate.metrics
    return Row(
        model=candidate.model,
        sha256=candidate.sha256,
        format=candidate.format,
        bytes=candidate.bytes,
        threads=candidate.threads,
        delegate=candidate.delegate,
        precision=candidate.precision,
        runtime=None,
        median_ms=None,
        p95_ms=None,
        rounds_ms=(),
        calls=0,
        ratio=None,
        accuracy=metrics.accuracy,
        float_accuracy=metrics.float_accuracy,
        drop=drop(candidate),
        behind=None,
        agreement=metrics.agreement,
        verdict=metrics.verdict,
        standing=None,
        left_out=reason,
        chosen=False,
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"
