"""One run: recipe + examples -> the network with the best averaged weights, resumable after a kill."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import keras

from converters.networks import Given, build_network
from converters.networks.given import load_given
from converters.networks.logits import logits_of
from converters.quiet import quiet
from converters.recipe import Recipe, Schedule
from converters.training.bank import Bank
from converters.training.batches import Batches
from converters.training.examples import Examples
from converters.training.keeper import Keeper, Report, Step
from converters.training.losses import LabelLoss, accuracy
from converters.training.run import Run
from edge.errors import DataError, first_line

# Averages of weights and of batch statistics look back over no more than a tenth of the run: they start at what is
# noise, and a short run has to forget it sooner.
SHARE_OF_RUN = 10


def train(
    recipe: Recipe,
    examples: Examples,
    folder: Path,
    report: Report,
    start: Path | None = None,
    bank: Bank | None = None,
    step: Step | None = None,
) -> Path:
    """Train, or go on where an earlier run in `folder` stopped.

    Args:
        recipe: what to train and how.
        examples: what to learn from; the held-out part selects the epoch.
        folder: the run folder; created when missing.
        report: called after each epoch with its line and the number of epochs in all.
        start: a network of the recipe's shape to go on from, such as the shipped one for data of one's own.
        bank: the teachers' answers, when the recipe distills.
        step: called after each step with the steps done and those of the whole run.

    Returns:
        The path of `best.keras`: float32 (N, S, S, 1) in [-1, 1] -> probabilities.

    Raises:
        DataError: `start` does not fit the recipe, `folder` holds a run of another recipe, the loss is not a number any
            more, or the disk is full; the last good checkpoint is kept.
    """
    if (recipe.distill is None) != (bank is None):
        raise DataError(f"recipe {recipe.name}: [distill] and --teacher go together; edge-distill takes both, edge-train neither")
    origins = {"data": examples.digest}
    if start is not None:
        origins["start"] = hashlib.sha256(start.read_bytes()).hexdigest()
    if bank is not None:
        origins["teachers"] = bank.key
    run = Run(folder, recipe, origins)
    keras.utils.set_random_seed(recipe.seed)
    batches = Batches(examples, recipe, bank)
    with _Precision(recipe.schedule):
        network = _network(recipe, examples, start)
        learner = _learner(network, recipe, examples, len(batches))
    done = 0
    if run.last.exists():
        # The step counter is what a checkpoint is worth.
        done = _restore(learner, run.last) // len(batches)
    elif start is not None and not isinstance(recipe.network, Given):
        _take_weights(network, start, examples, recipe)
    run.resume(done)
    if done < recipe.schedule.epochs:
        batches.begin(done)
        # The same network in float32, which is what is judged and kept, whatever precision is trained in.
        averaged = _network(recipe, examples, start)
        keeper = Keeper(run, network, averaged, examples, recipe.schedule.epochs, len(batches), report, step or (lambda *_: None))
        # shuffle=False: the batches are shuffled already, by the seed. One fit for all epochs, because its end
        # overwrites the weights with their averages.
        learner.fit(batches, initial_epoch=done, epochs=recipe.schedule.epochs, shuffle=False, verbose=0, callbacks=[keeper])
    return run.best


def _network(recipe: Recipe, examples: Examples, start: Path | None) -> Any:
    if isinstance(recipe.network, Given):
        return load_given(start, examples.shape, recipe.labels)
    return build_network(recipe.network, examples.shape, examples.classes)


def _learner(network: Any, recipe: Recipe, examples: Examples, steps: int) -> Any:
    """The network up to its logits, with the votes' head beside them where the recipe has one, compiled."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = _decay(layer.momentum, recipe.schedule.epochs * steps)
    outputs = [logits_of(network)]
    losses: list[Any] = [LabelLoss(recipe.loss, recipe.distill)]
    if recipe.loss.votes_head:
        assert examples.votes is not None
        if isinstance(recipe.network, Given):
            raise DataError(f"recipe {recipe.name}: votes_head needs a network of this project, not a given one; set it to 0")
        head = keras.layers.Dense(examples.votes.shape[1], name="votes", dtype="float32")
        outputs.append(head(network.get_layer("features").output))
        losses.append(keras.losses.CategoricalCrossentropy(from_logits=True))
    learner = keras.Model(network.inputs, outputs)
    learner.compile(
        _optimizer(recipe.schedule, steps),
        loss=losses,
        loss_weights=[1.0, recipe.loss.votes_head][: len(losses)],
        metrics=[[accuracy], []][: len(losses)],
    )
    # Now, so that the averages exist before a checkpoint is read into them.
    learner.optimizer.build(learner.trainable_variables)
    return learner


def _decay(wanted: float, steps: int) -> float:
    return min(wanted, max(0.0, 1 - SHARE_OF_RUN / steps))


def _optimizer(plan: Schedule, steps: int) -> Any:
    total, warmup = plan.epochs * steps, max(1, round(plan.epochs * steps * plan.warmup))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, total - warmup), warmup_target=plan.learning_rate, warmup_steps=warmup
    )
    optimizer = keras.optimizers.SGD(
        rate,
        momentum=plan.momentum,
        nesterov=True,
        weight_decay=plan.weight_decay,
        use_ema=True,
        ema_momentum=_decay(plan.ema, total),
        ema_overwrite_frequency=None,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


class _Precision:
    """What layers that are built inside compute in."""

    def __init__(self, plan: Schedule) -> None:
        self._name = "mixed_bfloat16" if plan.precision == "bfloat16" else "float32"

    def __enter__(self) -> None:
        self._before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self._name)

    def __exit__(self, *_: object) -> None:
        keras.config.set_dtype_policy(self._before)


def _restore(learner: Any, checkpoint: Path) -> int:
    try:
        with quiet():
            learner.load_weights(checkpoint)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{checkpoint}: this checkpoint is damaged ({first_line(error, 120)}); give another --run") from None
    return int(learner.optimizer.iterations)


def _take_weights(network: Any, start: Path, examples: Examples, recipe: Recipe) -> None:
    weights = load_given(start, examples.shape, recipe.labels).get_weights()
    try:
        network.set_weights(weights)
    except ValueError as error:
        raise DataError(f"{start}: not a network of this recipe's shape ({first_line(error, 120)})") from None
