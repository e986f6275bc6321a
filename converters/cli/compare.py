"""edge-compare REFERENCE CANDIDATE --data fer2013.csv: two networks side by side on the same pictures, and the gate."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from converters.cli.flags import add_gate_flags, add_model_flags, described, loading, say_steps, show_progress
from edge.cli.exits import FAILED_GATE, OK, Parser, exit_status

if TYPE_CHECKING:
    from converters.versus import Side, Versus

PROG = "edge-compare"
EPILOG = """examples:
  edge-compare model.keras model.int8.tflite --data fer2013.csv       an artifact against its original
  edge-compare old.int8.tflite new.int8.tflite --data fer2013.csv     a new version against the one in the field
exit status: 0 the candidate is as good, 1 it is not, 2 unusable input"""


def main(argv: list[str] | None = None) -> int:
    return exit_status(PROG, lambda: _compare(sys.argv[1:] if argv is None else argv))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROG, description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path, help="what is trusted: a Keras file, a .tflite or an .onnx with its manifest")
    parser.add_argument("candidate", type=Path, help="what is held against it")
    parser.add_argument("--data", type=Path, required=True, help="fer2013.csv, an .npz, or a folder of images by class")
    parser.add_argument("--seed", type=int, default=0, help="of rows to find out a Keras file's input with (default 0)")
    add_model_flags(parser)
    add_gate_flags(parser)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser


def _compare(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    from converters.versus import Request, hold

    request = Request(
        reference=arguments.reference,
        candidate=arguments.candidate,
        data=arguments.data,
        given=described(arguments),
        seed=arguments.seed,
        max_drop=arguments.max_drop,
        min_agreement=arguments.min_agreement,
        loading=loading(arguments),
        command=shlex.join([PROG, *argv]),
    )
    say_steps(PROG)
    found = hold(request, show_progress)
    for warning in dict.fromkeys(found.warnings):
        print(f"{PROG}: warning: {warning}", file=sys.stderr)
    if arguments.json:
        import msgspec

        print(msgspec.json.encode(found).decode())
    else:
        print(_table(found))
    return FAILED_GATE if found.verdict == "failed" else OK


def _table(found: Versus) -> str:
    from converters.proof.report import figure_rows, lay_out, verdict_line

    def head(side: Side) -> str:
        return f"{side.file.file}: {side.quantization}, {side.runs_on}, input {side.preprocessing}"

    one, other = found.reference, found.candidate
    agreement = "unknown" if found.agreement is None else f"{found.agreement:.2%}"
    return "\n".join(
        [
            f"reference  {head(one)}",
            f"candidate  {head(other)}",
            f"measured on {found.measured.count:,} {found.measured.source}",
            "",
            *lay_out([("", "reference", "candidate", "change"), *figure_rows(one.figures, other.figures, found.labels)]),
            "",
            f"same top-1: {agreement}; largest difference of a probability: {found.largest_difference:.3f}",
            verdict_line(found.verdict, found.gate),
        ]
    )


if __name__ == "__main__":
    raise SystemExit(main())
