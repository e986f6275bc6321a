"""Getting back what pruning cost: some epochs of distillation from the network before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from converters.datasets import Dataset
from converters.datasets.augment import Augment
from converters.networks import Given
from converters.progress import Progress
from converters.quiet import quiet
from converters.recipe import Distill, Loss, Recipe, Schedule
from converters.training.bank import open_bank
from converters.training.examples import examples_of
from converters.training.keeper import Report, Step
from converters.training.train import train
from edge.errors import DataError

# A view costs the teacher a pass over the data; a student that starts where it nearly is does not need many.
VIEWS = 8
# A third of the rate of a whole training by a teacher (docs/training.md): what is to be found lies near.
LEARNING_RATE = 0.15


def finetune(
    pruned: Any,
    teacher: Any,
    data: Dataset,
    epochs: int,
    folder: Path,
    report: Report,
    step: Step,
    track: Progress = lambda *given: given[0],
) -> Path:
    """Train a pruned network on, with the unpruned one as its teacher.

    Args:
        pruned: Keras model, gray (N, S, S, 1) in [-1, 1] -> probabilities.
        teacher: the network it was made from.
        data: the training part is learned from, the held-out part selects the epoch.
        epochs: how many, at least 1.
        folder: run folder; a killed run goes on.
        report, step, track: see `train` and `open_bank`.

    Returns:
        The path of the best weights' `best.keras`.

    Raises:
        DataError: see `train`.
    """
    recipe = Recipe(
        name="finetune",
        seed=1,
        network=Given(),
        schedule=Schedule(epochs=epochs, learning_rate=LEARNING_RATE, weight_decay=1e-3, ema=0.998),
        loss=Loss(label_smoothing=0.0),
        augment=Augment(faults=0.05),
        distill=Distill(temperature=3.0, weight=0.8, views=min(epochs, VIEWS)),
        size=int(pruned.input_shape[1]),
        labels=data.labels,
    )
    examples = examples_of(data, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    student, master = folder / "pruned.keras", folder / "teacher.keras"
    for model, path in ((pruned, student), (teacher, master)):
        _keep(model, path)
    bank = open_bank([master], examples, recipe, folder, track)
    return train(recipe, examples, folder, report, student, bank, step)


def _keep(model: Any, path: Path) -> None:
    """Save the network, or see that the file is this very one: Keras' files carry the time, so a new one would be another run."""
    import keras

    with quiet():
        if not path.exists():
            model.save(path.with_name(f"writing-{path.name}"))
            path.with_name(f"writing-{path.name}").replace(path)
            return
        before, now = keras.models.load_model(path, compile=False).get_weights(), model.get_weights()
    if len(before) != len(now) or not all(np.array_equal(one, other) for one, other in zip(before, now, strict=True)):
        raise DataError(f"{path.parent} holds the fine-tuning of another network; remove that folder, or give another one")
