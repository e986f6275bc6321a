"""Channels away before a conversion, and learning from the network before what that cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from converters.case import Case
from converters.compress.prune import keras_model, prunable, prune
from converters.loading.model import FloatModel
from converters.progress import Progress
from converters.proof.cost import parameters
from converters.proof.report import Pruned
from converters.quiet import quiet
from converters.resolve import Resolved
from edge.errors import DataError

# Callbacks of `train`: after an epoch, after a step.
Watched = tuple[Callable[..., None], Callable[..., None]]
Watch = Callable[[str], AbstractContextManager[Watched]]


def unwatched(_: str) -> AbstractContextManager[Watched]:
    """Nobody watches the epochs."""
    return nullcontext((lambda *_: None, lambda *_: None))


def shrink(case: Case, folder: Path, progress: Progress, watch: Watch = unwatched) -> tuple[FloatModel, Pruned | None]:
    """The network to convert: the one that came, or that one with fewer channels.

    Args:
        case: its request says how much goes and how many epochs of fine-tuning follow.
        folder: run folder of the fine-tuning; a killed one goes on there.
        progress: see `Progress`.
        watch: called with the name of the part that is measured on, gives what to call after each epoch and each step.

    Raises:
        DataError: the network cannot be pruned or fine-tuned.
    """
    request = case.request
    if not request.prune:
        return case.model, None
    teacher = keras_model(case.model)
    if request.finetune:
        if case.data is None or case.data.train.labels is None:
            raise DataError("--finetune learns from labelled pictures; give them with --data")
        check_trainable(case.model, case.resolved)
    with quiet():
        pruned = prune(teacher, request.prune, name=str(request.source))
    if prunable(pruned) == prunable(teacher):
        raise DataError(f"{request.source}: nothing goes at a ratio of {request.prune:g}: channels go in fours; raise --prune")
    if request.finetune:
        pruned = _finetuned(case, pruned, teacher, folder, progress, watch)
    facts = Pruned(request.prune, parameters(teacher), parameters(pruned), request.finetune)
    return with_network(case.model, pruned), facts


def with_network(model: FloatModel, network: Any) -> FloatModel:
    """The same model around another Keras network of the same ends."""
    keep = (network, [variable.value for variable in network.variables])
    return dataclasses.replace(model, call=lambda tensor: network(tensor, training=False), keep=keep)


def check_trainable(model: FloatModel, resolved: Resolved) -> None:
    """Refuse what this project's training does not feed, or ask, as the network wants it.

    Raises:
        DataError: the network takes other than square gray pictures in [-1, 1], or gives logits.
    """
    spec = resolved.input
    usual = len(spec.mean) == 1 and abs(spec.mean[0] - 127.5) < 1 and abs(spec.scale[0] * 127.5 - 1) < 0.01
    if spec.channels != 1 or spec.height != spec.width or not usual or model.height is None:
        raise DataError(
            f"{model.path}: fine-tuning trains networks of square gray pictures in [-1, 1]; this one takes "
            f"{spec.height}x{spec.width} {spec.color} ({resolved.how}); prune it without --finetune and train it yourself"
        )
    if resolved.output.kind != "probabilities":
        raise DataError(
            f"{model.path}: fine-tuning trains networks that end in a softmax; this one gives logits; "
            "prune it without --finetune and train it yourself"
        )


def _finetuned(case: Case, pruned: Any, teacher: Any, folder: Path, progress: Progress, watch: Watch) -> Any:
    import keras

    from converters.training.finetune import finetune

    assert case.data is not None
    epochs = case.request.finetune
    with watch(case.data.held_out_name) as (report, step):
        best = finetune(pruned, teacher, case.data, epochs, folder, report, step, progress)
    with quiet():
        return keras.models.load_model(best, compile=False)
