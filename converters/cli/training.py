"""What edge-train and edge-distill have in common: one bar over all steps, one line per epoch, the card at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from converters.cli.flags import show_progress
from edge.cli.exits import OK
from edge.errors import DataError


def import_keras() -> None:
    """Before anything else imports Keras, which reads its backend once; another than TensorFlow is the user's choice."""
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend == "tensorflow":
        from converters.quiet import import_tensorflow

        import_tensorflow()
        return
    try:
        import keras  # noqa: F401
    except (ImportError, ValueError) as error:
        raise DataError(f"KERAS_BACKEND={backend}: cannot be used ({error}); install it, or leave the variable unset") from None


@contextmanager
def progress_bar(held_out: str, file: TextIO | None = None) -> Iterator[tuple[Any, Any]]:
    """The two callbacks of `train`: after an epoch, which is a line in `file` (standard output), and after a step."""
    from tqdm import tqdm

    with tqdm(unit="step", disable=not sys.stderr.isatty(), dynamic_ncols=True) as bar:

        def step(done: int, steps: int) -> None:
            if bar.total != steps:
                # A resumed run: the steps of the run before are no speed of this one.
                bar.total, bar.initial, bar.n = steps, done - 1, done - 1
            bar.update(done - bar.n)

        def report(line: Any, epochs: int) -> None:
            bar.write(
                f"epoch {line.epoch + 1}/{epochs}: loss {line.loss:.3f}, training {line.train_accuracy:.1%}, "
                f"{held_out} {line.held_out_accuracy:.2%} (mean recall {line.held_out_macro_recall:.1%}), {line.seconds:.0f} s",
                file=file or sys.stdout,
            )
            (file or sys.stdout).flush()

        yield report, step


def check_exists(*paths: Any) -> None:
    for path in paths:
        if path is not None and not path.is_file():
            raise DataError(f"{path}: no such file")


def finish(best: Path, data: Path, command: str) -> int:
    """Measure the network, write its card into the run folder, and say what comes next."""
    print(f"best weights by their held-out accuracy: {best}")
    if os.environ["KERAS_BACKEND"] == "tensorflow":
        from converters.evaluate import Request, evaluate_model
        from converters.proof.prose import table

        request = Request(best, data, best.parent, card=True, force=True, command=command)
        print(table(evaluate_model(request, show_progress).card))
    else:
        print(f"for its card, where TensorFlow is installed: edge-evaluate {best} --data {data} --card")
    print(f"next: edge-convert --int8 {best} --data {data}")
    return OK
