"""Is a student better for its teacher? The same recipe with and without [distill], over several seeds, at one budget.

    python benchmarks/distilled.py recipes/micro.toml --teacher runs/teacher/best.keras --data fer2013.csv

Both have the same network, views, epochs and seed; the plain one may have a learning rate of its own (--plain-rate), because
one that fits soft targets need not fit hard ones. PublicTest, single crop, the averaged weights of the best epoch. Runs are
resumable: give the command again. What the bank costs comes on top, once for all students: one look of the teacher at each
view.

Two paired tests: over the pictures (each seed's two networks answer the same pictures; differences are averaged over seeds)
and over the seeds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from converters.recipe import Recipe, read_recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--teacher", type=Path, action="append", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--plain-rate", type=float, help="learning rate without a teacher (default: the recipe's)")
    parser.add_argument("--runs", type=Path, default=Path("runs/distilled"))
    arguments = parser.parse_args()

    from converters.cli.flags import show_progress
    from converters.cli.training import import_keras, progress_bar

    import_keras()
    from converters.training.bank import open_bank
    from converters.training.examples import open_examples
    from converters.training.train import train

    given = shortened(read_recipe(arguments.recipe), arguments.epochs)
    examples = open_examples(arguments.data, given)
    bank = open_bank(arguments.teacher, examples, given, Path("runs/banks"), show_progress)
    right: dict[str, list[NDArray[np.bool_]]] = {"distilled": [], "plain": []}
    for seed in arguments.seeds:
        for kind, found in right.items():
            recipe = msgspec.structs.replace(given, seed=seed)
            if kind == "plain":
                rate = arguments.plain_rate or given.schedule.learning_rate
                recipe = msgspec.structs.replace(
                    recipe, distill=None, schedule=msgspec.structs.replace(given.schedule, learning_rate=rate)
                )
            with progress_bar(examples.held_out_name) as (report, step):
                folder = arguments.runs / f"{kind}-{seed}"
                best = train(recipe, examples, folder, report, None, bank if kind == "distilled" else None, step)
            found.append(answers(best, examples))
            print(f"seed {seed}, {kind}: {found[-1].mean():.2%}", flush=True)
    tell(np.array(right["distilled"], np.float64), np.array(right["plain"], np.float64), arguments.epochs)


def shortened(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe with another number of epochs."""
    return msgspec.structs.replace(recipe, schedule=msgspec.structs.replace(recipe.schedule, epochs=epochs))


def answers(model: Path, examples: object) -> NDArray[np.bool_]:
    """Which held-out pictures a network gets right."""
    import keras

    from converters.training.examples import Examples, normalise

    assert isinstance(examples, Examples)
    network = keras.saving.load_model(model, compile=False)
    said = network.predict(normalise(examples.held_out), batch_size=512, verbose=0).argmax(1)
    return np.asarray(said == examples.held_out_labels)


def tell(distilled: NDArray[np.float64], plain: NDArray[np.float64], epochs: int) -> None:
    """Means and both paired tests; arrays are (seeds, pictures) of 0 and 1."""
    gain = distilled - plain
    by_picture, by_seed = gain.mean(axis=0), gain.mean(axis=1)
    error = by_picture.std(ddof=1) / np.sqrt(by_picture.size)
    print(f"{epochs} epochs, {len(by_seed)} seeds, {by_picture.size:,} pictures")
    print(f"distilled {distilled.mean():.2%}, plain {plain.mean():.2%}, gain {100 * gain.mean():+.2f} points")
    print(f"  over pictures: standard error {100 * error:.2f}, t = {gain.mean() / error:.1f}")
    print(f"  over seeds: {', '.join(f'{100 * value:+.2f}' for value in by_seed)}", end="")
    if len(by_seed) > 1:
        seeds = by_seed.std(ddof=1) / np.sqrt(by_seed.size)
        print(
            f"; standard error {100 * seeds:.2f}, t = {gain.mean() / seeds:.1f} ({by_seed.size - 1} degrees of freedom)", end=""
        )
    print()


if __name__ == "__main__":
    main()
