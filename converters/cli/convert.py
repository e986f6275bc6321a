"""edge-convert --int8 model.h5: a Keras file becomes a .tflite for the device, proven against its original."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from calibration.choose import Method
from converters.cli.flags import add_gate_flags, add_model_flags, described, loading, say_steps, show_progress
from converters.formats import FORMATS, SEVERAL
from converters.targets import TARGETS, Target
from edge.cli.exits import FAILED_GATE, OK, Parser, exit_status
from edge.errors import DataError

if TYPE_CHECKING:
    from converters.proof.report import Report

PROG = "edge-convert"
EPILOG = """examples:
  edge-convert --int8 model.h5                          made-up pictures; accuracy stays unknown
  edge-convert --int8 model.h5 --data fer2013.csv       calibrated, measured and judged with real faces
  edge-convert --int8 --fp16 model.keras --data faces/  a folder of images by class
  edge-convert --target jetson-orin model.keras --data fer2013.npz    what that board wants, and why
exit status: 0 converted, 1 the result is not as good as the original (nothing is left of it), 2 unusable input"""


def main(argv: list[str] | None = None) -> int:
    return exit_status(PROG, lambda: _convert(sys.argv[1:] if argv is None else argv))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROG, description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a .h5, .hdf5 or .keras file, or a SavedModel folder")
    formats = parser.add_argument_group("formats, at least one, or a board")
    for form in FORMATS.values():
        formats.add_argument(f"--{form.flag}", action="append_const", dest="formats", const=(form.flag,), help=form.says)
    for flag, names in SEVERAL.items():
        both = " and ".join(f"--{name}" for name in names)
        text = {"onnx": both, "tensorrt": f"{both}, and how to build the engine on the board"}[flag]
        formats.add_argument(f"--{flag}", action="append_const", dest="formats", const=names, help=text)
    formats.add_argument("--target", choices=TARGETS, help="the formats of a board, and why")
    smaller = parser.add_argument_group("smaller before it is converted")
    smaller.add_argument(
        "--prune", type=_ratio, default=0.0, metavar="R", help="take away this share of the channels, such as 0.3"
    )
    smaller.add_argument("--finetune", type=_count, default=0, metavar="N", help="then learn N epochs from the network before")
    data = parser.add_argument_group("pictures")
    data.add_argument("--data", type=Path, help="fer2013.csv, an .npz, or a folder of images by class")
    data.add_argument("--samples", type=_count, default=256, metavar="N", help="pictures to calibrate with (default 256)")
    data.add_argument("--seed", type=int, default=0, help="of every choice by chance (default 0)")
    data.add_argument(
        "--ranges", type=Path, action="append", default=[], metavar="FILE", help="use a .ranges.json, do not observe"
    )
    data.add_argument("--method", choices=get_args(Method), help="of choosing ranges (default: mse with --data, minmax without)")
    add_model_flags(parser)
    gate = add_gate_flags(parser)
    gate.add_argument(
        "--keep-float", type=_count, default=0, metavar="N", help="should INT8 not pass, leave its N worst layers in float"
    )
    output = parser.add_argument_group("output")
    output.add_argument("-o", "--output-dir", type=Path, metavar="DIR", help="folder for the result (default: beside the model)")
    output.add_argument("--force", action="store_true", help="replace what is there, once the new one has passed")
    output.add_argument("--thumbnails", action="store_true", help="show pictures that were calibrated with in the .html report")
    output.add_argument("--json", action="store_true", help="print the report as JSON, one line for each format")
    return parser


def _convert(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    target = TARGETS.get(arguments.target)
    asked = [name for names in arguments.formats or () for name in names]
    formats = tuple(dict.fromkeys([*(target.formats if target else ()), *asked]))
    if not formats:
        raise DataError(f"choose a format: --int8 is what most boards want, --target names yours; see {PROG} --help")
    if arguments.finetune and not (arguments.prune and arguments.data):
        raise DataError("--finetune gets back what pruning cost, by learning from pictures: add --prune and --data")
    if arguments.ranges and arguments.method:
        raise DataError("--method chooses ranges anew, --ranges brings them along: give one of them")
    from converters.cli.training import progress_bar
    from converters.convert import convert
    from converters.proof.report import table
    from converters.request import Request

    request = Request(
        source=arguments.model,
        formats=formats,
        folder=arguments.output_dir or arguments.model.parent,
        data=arguments.data,
        given=described(arguments),
        samples=arguments.samples,
        seed=arguments.seed,
        method=arguments.method,
        ranges=tuple(arguments.ranges),
        keep_float=arguments.keep_float,
        prune=arguments.prune,
        finetune=arguments.finetune,
        max_drop=arguments.max_drop,
        min_agreement=arguments.min_agreement,
        force=arguments.force,
        thumbnails=arguments.thumbnails,
        loading=loading(arguments),
        command=shlex.join([PROG, *argv]),
    )
    if target:
        _explain(target, asked)
    say_steps(PROG)
    reports, page = convert(request, show_progress, partial(progress_bar, file=sys.stderr))
    for warning in dict.fromkeys(warning for report in reports for warning in report.warnings):
        print(f"{PROG}: warning: {warning}", file=sys.stderr)
    if arguments.json:
        import msgspec

        for report in reports:
            print(msgspec.json.encode(report).decode())
    else:
        print("\n\n".join(table(report) for report in reports))
    status = _ending(request.folder, [(report.artifact.file, report.verdict) for report in reports], arguments.force)
    print(f"{PROG}: to look at in a browser: {page}", file=sys.stderr)
    if status == OK:
        _next(request.folder, reports, target)
    return status


def _explain(target: Target, asked: Sequence[str]) -> None:
    named = " and ".join(f"--{name}" for name in target.formats)
    print(f"{PROG}: {target.board}: {named}, because {target.why}", file=sys.stderr)
    for name, reason in target.slow:
        if name in asked:
            print(f"{PROG}: warning: --{name} was asked for too, but {reason}", file=sys.stderr)


def _next(folder: Path, reports: Sequence[Report], target: Target | None) -> None:
    """What to do with the files, where converting is not the end of it."""
    if target:
        print(f"{PROG}: next: {target.then.format(model=folder / reports[0].artifact.file)}", file=sys.stderr)
        return
    for report in reports:
        if report.format_name in SEVERAL["tensorrt"]:
            precision = "int8" if report.quantization == "int8-qdq" else "fp16"
            where = folder / report.artifact.file
            print(f"{PROG}: for TensorRT, on the board: edge-engine build {where} --precision {precision}", file=sys.stderr)


def _ending(folder: Path, verdicts: Sequence[tuple[str, str]], force: bool) -> int:
    failed = [name for name, verdict in verdicts if verdict == "failed"]
    if not failed:
        for name, _ in verdicts:
            print(f"{PROG}: wrote {folder / name} with its manifest and report", file=sys.stderr)
        return OK
    kept = "; what was there before is unchanged" if force else ""
    print(
        f"{PROG}: {', '.join(failed)}: the gate has failed (the verdict says where); nothing was written but its report{kept}",
        file=sys.stderr,
    )
    good = [name for name, verdict in verdicts if verdict != "failed"]
    if good:
        print(f"{PROG}: {', '.join(good)} would have passed: ask for it alone", file=sys.stderr)
    return FAILED_GATE


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 < ratio < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share between 0 and 1, such as 0.3")
    return ratio


if __name__ == "__main__":
    raise SystemExit(main())
