"""edge-convert --int8 model.h5: a Keras file becomes a .tflite for the device, proven against its original."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from converters.cli.flags import add_model_flags, described, say_steps, show_progress
from edge.cli.exits import FAILED_GATE, OK, Parser, exit_status
from edge.errors import DataError

PROG = "edge-convert"
EPILOG = """examples:
  edge-convert --int8 model.h5                          made-up pictures; accuracy stays unknown
  edge-convert --int8 model.h5 --data fer2013.csv       calibrated, measured and judged with real faces
  edge-convert --int8 --fp16 model.keras --data faces/  a folder of images by class
exit status: 0 converted, 1 the result is not as good as the original (nothing is left of it), 2 unusable input"""


def main(argv: list[str] | None = None) -> int:
    return exit_status(PROG, lambda: _convert(sys.argv[1:] if argv is None else argv))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROG, description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a .h5, .hdf5 or .keras file, or a SavedModel folder")
    formats = parser.add_argument_group("formats, at least one")
    formats.add_argument("--int8", action="append_const", dest="formats", const="int8", help="whole numbers only: small and fast")
    formats.add_argument("--fp16", action="append_const", dest="formats", const="fp16", help="half-precision weights")
    formats.add_argument(
        "--dynamic", action="append_const", dest="formats", const="dynamic", help="INT8 weights, float arithmetic"
    )
    formats.add_argument("--fp32", action="append_const", dest="formats", const="fp32", help="as it is")
    data = parser.add_argument_group("pictures")
    data.add_argument("--data", type=Path, help="fer2013.csv, an .npz, or a folder of images by class")
    data.add_argument("--samples", type=_count, default=256, metavar="N", help="pictures to calibrate with (default 256)")
    data.add_argument("--seed", type=int, default=0, help="of every choice by chance (default 0)")
    add_model_flags(parser)
    gate = parser.add_argument_group("the gate")
    gate.add_argument("--max-drop", type=float, default=1.0, metavar="POINTS", help="largest loss of accuracy (default 1.0)")
    gate.add_argument("--min-agreement", type=_share, default=0.95, metavar="SHARE", help="smallest share of same answers (0.95)")
    output = parser.add_argument_group("output")
    output.add_argument("--output", type=Path, metavar="DIR", help="folder for the result (default: beside the model)")
    output.add_argument("--force", action="store_true", help="replace what is there, once the new one has passed")
    output.add_argument("--json", action="store_true", help="print the report as JSON, one line for each format")
    return parser


def _convert(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    if not arguments.formats:
        raise DataError(f"choose a format: --int8 is what most boards want, --fp16 a Jetson; see {PROG} --help")
    from converters.convert import Request, convert
    from converters.proof.report import table

    request = Request(
        source=arguments.model,
        formats=tuple(dict.fromkeys(arguments.formats)),
        folder=arguments.output or arguments.model.parent,
        data=arguments.data,
        given=described(arguments),
        samples=arguments.samples,
        seed=arguments.seed,
        max_drop=arguments.max_drop,
        min_agreement=arguments.min_agreement,
        force=arguments.force,
        allow_lambda=arguments.allow_lambda,
        custom=arguments.custom,
        command=shlex.join([PROG, *argv]),
    )
    say_steps(PROG)
    reports = convert(request, show_progress)
    for warning in dict.fromkeys(warning for report in reports for warning in report.warnings):
        print(f"{PROG}: warning: {warning}", file=sys.stderr)
    if arguments.json:
        import msgspec

        for report in reports:
            print(msgspec.json.encode(report).decode())
    else:
        print("\n\n".join(table(report) for report in reports))
    return _ending(request.folder, [(report.artifact.file, report.verdict) for report in reports], arguments.force)


def _ending(folder: Path, verdicts: Sequence[tuple[str, str]], force: bool) -> int:
    failed = [name for name, verdict in verdicts if verdict == "failed"]
    if not failed:
        for name, _ in verdicts:
            print(f"{PROG}: wrote {folder / name} with its manifest and report", file=sys.stderr)
        return OK
    kept = "; what was there before is unchanged" if force else ""
    print(
        f"{PROG}: {', '.join(failed)}: not as good as the original, nothing was written but a .failed.report.json{kept}",
        file=sys.stderr,
    )
    good = [name for name, verdict in verdicts if verdict != "failed"]
    if good:
        print(f"{PROG}: {', '.join(good)} would have passed: ask for it alone", file=sys.stderr)
    return FAILED_GATE


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pictures")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share between 0 and 1")
    return share


if __name__ == "__main__":
    raise SystemExit(main())
