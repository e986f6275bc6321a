"""edge-evaluate model.(keras|h5|tflite) --data fer2013.csv: what a network is worth, by the protocol, and its card."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from converters.cli.flags import add_model_flags, described, loading, say_steps, show_progress
from edge.cli.exits import OK, Parser, exit_status

PROG = "edge-evaluate"
EPILOG = """examples:
  edge-evaluate model.keras --data fer2013.csv               the float network
  edge-evaluate model.int8.tflite --data fer2013.csv --card  what the device runs; writes model.int8.card.md and pictures
  edge-evaluate model.keras --data faces/ --explain 4        where the network looks, right and wrong, in one picture
exit status: 0 measured, 2 unusable input"""


def main(argv: list[str] | None = None) -> int:
    return exit_status(PROG, lambda: _evaluate(sys.argv[1:] if argv is None else argv))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROG, description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a .tflite that edge-convert wrote, a Keras file, or a SavedModel folder")
    data = parser.add_argument_group("pictures")
    data.add_argument("--data", type=Path, required=True, help="fer2013.csv, an .npz, or a folder of images by class")
    data.add_argument(
        "--split", type=_split, default="public", metavar="public|training", help="which part to measure on (default public)"
    )
    data.add_argument("--tta", action="store_true", help="also the mean of each picture and its mirror image, beside the figure")
    what = parser.add_argument_group("what to make")
    what.add_argument("--card", action="store_true", help="write MODEL.card.json, MODEL.card.md and MODEL.confusion.png")
    what.add_argument(
        "--explain",
        type=_count,
        default=0,
        metavar="N",
        help="write MODEL.explain.png: Grad-CAM of N right and N wrong of each class",
    )
    what.add_argument(
        "--recipe", type=Path, metavar="FILE", help="recipes/NAME.toml or a run's recipe.json, for the card: seed, chosen epoch"
    )
    what.add_argument("--seed", type=int, default=0, help="of the samples to explain (default 0)")
    add_model_flags(parser)
    output = parser.add_argument_group("output")
    output.add_argument("-o", "--output-dir", type=Path, metavar="DIR", help="folder for the files (default: beside the model)")
    output.add_argument("--force", action="store_true", help="replace files that are there")
    output.add_argument("--json", action="store_true", help="print the card as JSON")
    return parser


def _evaluate(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    given = described(arguments)
    say_steps(PROG)
    from converters.evaluate import Request, evaluate_model
    from converters.proof.prose import table

    request = Request(
        model=arguments.model,
        data=arguments.data,
        folder=arguments.output_dir or arguments.model.parent,
        split=arguments.split,
        flip=arguments.tta,
        explain=arguments.explain,
        card=arguments.card,
        recipe=arguments.recipe,
        given=given,
        seed=arguments.seed,
        force=arguments.force,
        loading=loading(arguments),
        command=shlex.join([PROG, *argv]),
    )
    evaluation = evaluate_model(request, show_progress)
    for warning in evaluation.warnings:
        print(f"{PROG}: warning: {warning}", file=sys.stderr)
    if arguments.json:
        import msgspec

        print(msgspec.json.encode(evaluation.card).decode())
    else:
        print(table(evaluation.card))
    for path in evaluation.written:
        print(f"{PROG}: wrote {path}", file=sys.stderr)
    return OK


def _split(text: str) -> str:
    if text.lower() in {"private", "privatetest"}:
        raise argparse.ArgumentTypeError(
            "PrivateTest is never read here: whoever looks at it while choosing has no untouched figure left; measure on public"
        )
    if text not in {"public", "training"}:
        raise argparse.ArgumentTypeError(f"{text!r} is neither public nor training")
    return text


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 20:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of samples from 1 to 20")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
