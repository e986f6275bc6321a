"""edge-train recipe.toml --data fer2013.csv: train a network, resumable, with a csv log."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from edge.cli.exits import Parser, exit_status
from edge.errors import DataError


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="edge-train", description=__doc__)
    parser.add_argument("recipe", type=Path, help="a recipe file; recipes/ has the ones behind the shipped models")
    parser.add_argument("--data", type=Path, required=True, help="fer2013.csv, an .npz, or a folder of images by class")
    parser.add_argument("--run", type=Path, help="folder of checkpoints and log (default: runs/<recipe name>)")
    parser.add_argument("--start", type=Path, help="a .keras of the same shape to go on from, such as models/micro.keras")
    return exit_status("edge-train", lambda: _train(parser.parse_args(argv)))


def _train(arguments: argparse.Namespace) -> int:
    from converters.recipe import read_recipe

    recipe = read_recipe(arguments.recipe)
    folder = arguments.run or Path("runs") / recipe.name
    # Before anything else imports Keras, which reads its backend once; another backend than TensorFlow is the user's choice.
    if os.environ.setdefault("KERAS_BACKEND", "tensorflow") == "tensorflow":
        from converters.quiet import import_tensorflow

        import_tensorflow()

    from tqdm import tqdm

    from converters.datasets import open_dataset
    from converters.training.train import Epoch, train

    if arguments.start is not None and not arguments.start.is_file():
        raise DataError(f"{arguments.start}: no such file")
    data = open_dataset(arguments.data)
    with tqdm(total=recipe.schedule.epochs, unit="epoch", disable=not sys.stderr.isatty()) as bar:

        def report(line: Epoch, epochs: int) -> None:
            bar.update(line.epoch + 1 - bar.n)
            bar.write(
                f"epoch {line.epoch + 1}/{epochs}: loss {line.loss:.3f}, training {line.train_accuracy:.1%}, "
                f"{data.held_out_name} {line.held_out_accuracy:.2%} (mean recall {line.held_out_macro_recall:.1%}), "
                f"{line.seconds:.0f} s",
                file=sys.stdout,
            )
            sys.stdout.flush()

        best = train(recipe, data, folder, report, arguments.start)
    print(f"best weights by {data.held_out_name}: {best}")
    print(f"next: edge-convert --int8 {best} --data {arguments.data}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
