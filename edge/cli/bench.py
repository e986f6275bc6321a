"""edge-bench: measure models on this very machine, and name the fastest within the accuracy budget.

Give it every format that edge-convert made of a network. Each runs with several numbers of threads; a .tflite with
XNNPACK, without it, and with delegates of your own, an .onnx on TensorRT too where that is installed. They take turns, so
that what disturbs the machine disturbs them all.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge.bench.machine import busy, cores, this_machine
from edge.cli.exits import FAILED_GATE, OK, Parser, exit_status

if TYPE_CHECKING:
    from edge.bench.candidates import Gpu

USUAL_THREADS = (1, 2, 4)
# What [model] threads takes.
MOST_THREADS = 64
# What is over before this needs no progress, seconds.
PATIENCE = 2.0
# With more of the cores in use than this before it begins, somebody else is working.
BUSY = 0.5


def main(argv: list[str] | None = None) -> int:
    parser = Parser(
        prog="edge-bench",
        description=__doc__,
        epilog="Exit status: 0 one was chosen, 1 none may be chosen, 2 unusable arguments.",
    )
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="a .tflite or .onnx beside its manifest")
    parser.add_argument(
        "--threads", type=_threads, metavar="N,N", help="CPU threads to try (default 1, 2 and 4, up to the cores)"
    )
    parser.add_argument(
        "--delegate", action="append", default=[], metavar="LIB.so", help="an external delegate to try too, such as a Coral's"
    )
    parser.add_argument(
        "--precision",
        choices=["auto", "fp16", "fp32", "int8"],
        default="auto",
        help="of engines on TensorRT (default auto: int8 for a model with Q/DQ nodes, else fp16 where this GPU gains by it)",
    )
    parser.add_argument("--python", metavar="PATH", help="interpreter that can import tensorrt and pycuda")
    parser.add_argument("--cache", metavar="DIR", help="folder of the engines (default: where edge-run looks for them)")
    parser.add_argument(
        "--max-drop",
        type=_number,
        default=1.0,
        metavar="POINTS",
        help="accuracy that may be lost against the float original, its own or the best one (default 1.0)",
    )
    parser.add_argument("--unproven", action="store_true", help="models whose accuracy nobody has measured may be chosen")
    parser.add_argument("--seconds", type=_seconds, default=10.0, metavar="S", help="for all measuring together (default 10)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the order in which they take turns (default 0)")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")
    return exit_status("edge-bench", lambda: _run(parser.parse_args(argv)))


def _run(arguments: argparse.Namespace) -> int:
    # Imported late: --help and a mistake in the flags answer at once, without OpenCV.
    import msgspec

    from edge.bench.candidates import LeftOut, Opened, Ways, describe, open_all
    from edge.bench.choose import Budget, choose
    from edge.bench.measure import take_turns
    from edge.bench.report import config_lines, left_out_lines, report, table
    from edge.bench.words import why

    threads = arguments.threads or [count for count in USUAL_THREADS if count <= cores()]
    load, machine = busy(), this_machine()
    described = describe([path.expanduser() for path in arguments.models])
    left_out = [one for one in described if isinstance(one, LeftOut)]
    found = [one for one in described if not isinstance(one, LeftOut)]
    gpu = _gpu(arguments) if any(model.suffix == ".onnx" for model, _ in found) else None
    ways = Ways(tuple(threads), tuple(_from_anywhere(given) for given in arguments.delegate), gpu)
    stay_open = ways.stay_open(found)
    opened: list[Opened] = []
    for model, candidate in found:
        for one in open_all(model, candidate, ways, stay_open):
            opened.append(one) if isinstance(one, Opened) else left_out.append(one)
    progress = _Progress()
    measured, failed = take_turns(opened, arguments.seconds, arguments.seed, progress) if opened else ([], [])
    progress.close()
    left_out += failed
    budget = Budget(arguments.max_drop, arguments.unproven)
    choice = choose(measured, budget)
    reasons, notes = why(choice, measured, budget), _notes(load, machine.governor)
    bench = report(machine, measured, left_out, choice, budget, arguments.seed, reasons, notes, gpu)
    if arguments.json:
        print(msgspec.json.encode(bench).decode())
    else:
        _print([str(machine), ", ".join(f"{name} {number}" for name, number in bench.versions.items()), ""])
        _print([table(measured, choice, budget), "", *left_out_lines(left_out), *(f"note: {note}" for note in notes)])
        _print(reasons)
        _print([] if bench.choice is None else ["", config_lines(bench.choice)])
    return FAILED_GATE if choice.chosen is None else OK


def _gpu(arguments: argparse.Namespace) -> Gpu | None:
    from edge.bench.candidates import Gpu
    from edge.config import TensorRtSettings
    from edge.runtime.trt_process import find_python

    named = None if arguments.python is None else _from_anywhere(arguments.python)
    cache = None if arguments.cache is None else str(Path(arguments.cache).expanduser().absolute())
    python = find_python(named)
    if python is None:
        return None
    settings = TensorRtSettings(precision=arguments.precision, python=named, cache=cache)
    return Gpu(python, settings, _Once("TensorRT builds engines: minutes, once for each model; --seconds does not count them"))


def _notes(load: float, governor: str | None) -> list[str]:
    notes = []
    if load > BUSY:
        notes.append(f"something else was using {load:.0%} of the cores during the last minute; measure again when it is done")
    if governor not in (None, "performance"):
        notes.append(f"the clock is governed by {governor}: figures of short calls depend on how fast it speeds up")
    return notes


def _print(lines: Sequence[str]) -> None:
    for line in lines:
        print(line)


def _from_anywhere(given: str) -> str:
    """A library or program as edge-run finds it from anywhere; a name that is no file here is the system's to find."""
    path = Path(given).expanduser()
    return str(path.absolute()) if "/" in given or path.is_file() else given


def _threads(text: str) -> list[int]:
    words = text.split(",")
    if not all(word.isdecimal() and 1 <= int(word) <= MOST_THREADS for word in words):
        raise argparse.ArgumentTypeError(f"{text!r} is not whole numbers from 1 to {MOST_THREADS}, such as 1,2,4")
    return sorted({int(word) for word in words})


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
    return number


def _seconds(text: str) -> float:
    seconds = _number(text)
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0 and up to 3600")
    return seconds


class _Once:
    """A line on standard error, however often it is called."""

    def __init__(self, text: str) -> None:
        self._text: str | None = text

    def __call__(self) -> None:
        if self._text is not None:
            print(f"edge-bench: {self._text}", file=sys.stderr, flush=True)
        self._text = None


class _Progress:
    """One line on the terminal, once it takes longer than a person's patience."""

    def __init__(self) -> None:
        self._start, self._shown = time.monotonic(), False

    def __call__(self, done: float) -> None:
        if sys.stderr.isatty() and time.monotonic() - self._start > PATIENCE:
            self._shown = True
            print(f"\rmeasuring: {done:4.0%}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._shown:
            print(file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
