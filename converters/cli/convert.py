"""edge-convert --int8 model.h5: a Keras file becomes a .tflite for the device, proven against its original."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

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
    model = parser.add_argument_group("what the model's file does not tell (else model.toml beside it, else found by trying)")
    model.add_argument("--labels", type=_words, metavar="A,B,C", help="class names in the order of the outputs")
    model.add_argument("--color", choices=("gray", "rgb", "bgr"), help="order of the channels")
    model.add_argument("--mean", type=_numbers, metavar="M", help="x = (pixel - mean) * scale; one number or one per channel")
    model.add_argument("--scale", type=_numbers, metavar="S", help="[-1, 1] is --mean 127.5 --scale 0.00784314")
    model.add_argument("--resize", choices=("area", "linear", "linear_exact", "cubic"), help="interpolation (default area)")
    model.add_argument("--size", type=_size, metavar="HxW", help="input of a network that takes any size")
    model.add_argument("--name", help="what events call the model (default: the file's name)")
    model.add_argument("--version", help="and which version of it (default 1.0)")
    gate = parser.add_argument_group("the gate")
    gate.add_argument("--max-drop", type=float, default=1.0, metavar="POINTS", help="largest loss of accuracy (default 1.0)")
    gate.add_argument("--min-agreement", type=_share, default=0.95, metavar="SHARE", help="smallest share of same answers (0.95)")
    trust = parser.add_argument_group("code that would run here")
    trust.add_argument("--allow-lambda", action="store_true", help="build Lambda layers: Python code inside the file")
    trust.add_argument("--custom", type=Path, metavar="FILE.py", help="your file with the model's own layer classes")
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
    from converters.describe import Description, make_description
    from converters.proof.report import table

    said = {key: value for key in Description.__struct_fields__ if (value := getattr(arguments, key, None)) is not None}
    request = Request(
        source=arguments.model,
        formats=tuple(dict.fromkeys(arguments.formats)),
        folder=arguments.output or arguments.model.parent,
        data=arguments.data,
        given=make_description(said, "--"),
        samples=arguments.samples,
        seed=arguments.seed,
        max_drop=arguments.max_drop,
        min_agreement=arguments.min_agreement,
        force=arguments.force,
        allow_lambda=arguments.allow_lambda,
        custom=arguments.custom,
        command=shlex.join([PROG, *argv]),
    )
    if sys.stderr.isatty():
        # Somebody is watching: say what takes so long.
        logging.basicConfig(format=f"{PROG}: %(message)s")
        logging.getLogger("converters").setLevel(logging.INFO)
    reports = convert(request, _progress)
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


def _progress(items: Sequence[Any], what: str) -> Iterable[Any]:
    from tqdm import tqdm

    # Nothing is drawn for what takes less than two seconds, nor into a file or a pipe.
    return tqdm(items, desc=what, unit="", delay=2.0, leave=False, disable=not sys.stderr.isatty())


def _words(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty name")
    return words


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number or numbers separated by commas") from None


def _size(text: str) -> list[int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and (width or height).isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 48x48 (height, width)")
    return [int(height), int(width or height)]


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
