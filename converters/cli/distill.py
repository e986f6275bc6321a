"""edge-distill --teacher a.keras [--teacher b.keras] recipe.toml --data fer2013.csv: a small network learns from large ones.

The teachers answer once for each augmented view, and their answers are kept in a bank: a student's epoch then costs no
teacher, and the next student with the same views finds the bank filled.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from edge.cli.exits import Parser, exit_status
from edge.errors import DataError


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="edge-distill", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="the student's recipe, with a section [distill]")
    parser.add_argument(
        "--teacher", type=Path, action="append", required=True, help="a .keras that edge-train made; again for a mean of several"
    )
    parser.add_argument("--data", type=Path, required=True, help="fer2013.csv, an .npz, or a folder of images by class")
    parser.add_argument("--run", type=Path, help="folder of checkpoints and log (default: runs/<recipe name>)")
    parser.add_argument("--start", type=Path, help="a .keras of the student's shape to go on from")
    parser.add_argument("--bank", type=Path, default=Path("runs/banks"), help="folder of the teachers' answers (runs/banks)")
    given = sys.argv[1:] if argv is None else argv
    parser.set_defaults(command=shlex.join(["edge-distill", *given]))
    return exit_status("edge-distill", lambda: _distill(parser.parse_args(given)))


def _distill(arguments: argparse.Namespace) -> int:
    from converters.recipe import read_recipe

    recipe = read_recipe(arguments.recipe)
    if recipe.distill is None:
        raise DataError(f"{arguments.recipe}: has no section [distill]; add one, or train without a teacher by edge-train")
    folder = arguments.run or Path("runs") / recipe.name
    from converters.cli.flags import show_progress
    from converters.cli.training import check_exists, finish, import_keras, progress_bar

    check_exists(arguments.start, *arguments.teacher)
    import_keras()

    from converters.training.bank import open_bank
    from converters.training.examples import open_examples
    from converters.training.train import train

    examples = open_examples(arguments.data, recipe)
    bank = open_bank(arguments.teacher, examples, recipe, arguments.bank, show_progress)
    with progress_bar(examples.held_out_name) as (report, step):
        best = train(recipe, examples, folder, report, arguments.start, bank, step)
    return finish(best, arguments.data, arguments.command)


if __name__ == "__main__":
    raise SystemExit(main())
