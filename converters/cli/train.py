"""edge-train recipe.toml --data fer2013.csv: train a network, resumable, with a csv log and a card."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from edge.cli.exits import Parser, exit_status


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="edge-train", description=__doc__)
    parser.add_argument("recipe", type=Path, help="a recipe file; recipes/ has the ones behind the shipped models")
    parser.add_argument("--data", type=Path, required=True, help="fer2013.csv, an .npz, or a folder of images by class")
    parser.add_argument("--run", type=Path, help="folder of checkpoints and log (default: runs/<recipe name>)")
    parser.add_argument("--start", type=Path, help="a .keras of the same shape to go on from, such as models/micro.keras")
    given = sys.argv[1:] if argv is None else argv
    parser.set_defaults(command=shlex.join(["edge-train", *given]))
    return exit_status("edge-train", lambda: _train(parser.parse_args(given)))


def _train(arguments: argparse.Namespace) -> int:
    from converters.recipe import read_recipe

    recipe = read_recipe(arguments.recipe)
    folder = arguments.run or Path("runs") / recipe.name
    from converters.cli.training import check_exists, finish, import_keras, progress_bar

    check_exists(arguments.start)
    import_keras()

    from converters.training.examples import open_examples
    from converters.training.train import train

    examples = open_examples(arguments.data, recipe)
    with progress_bar(examples.held_out_name) as (report, step):
        best = train(recipe, examples, folder, report, arguments.start, step=step)
    return finish(best, arguments.data, arguments.command)


if __name__ == "__main__":
    raise SystemExit(main())
