"""What a step sees: each picture once an epoch or each class as often, targets as the recipe says, the same for the same seed."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from tiny import RECIPE

from converters.datasets import Dataset, Split
from converters.recipe import Recipe


def recipe(**changes: str) -> Recipe:
    text = RECIPE
    for section, lines in changes.items():
        text = text.replace(f"[{section}]", f"[{section}]\n{lines}")
    return msgspec.toml.decode(text, type=Recipe)


@pytest.fixture(scope="module")
def uneven() -> Dataset:
    """700 pictures, each of one grey that is its number; of the first class a hundred times as many as of the last."""
    labels = np.repeat(np.arange(7), [500, 60, 50, 40, 30, 15, 5]).astype(np.int64)
    images = np.repeat((np.arange(700) % 251).astype(np.uint8), 48 * 48).reshape(700, 48, 48)
    votes = np.full((700, 10), -1, np.int8)
    votes[0] = [0, 0, 0, 5, 5, 0, 0, 0, 0, 0]
    return Dataset(
        "uneven",
        ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
        Split(images, labels, votes),
        Split(images[::9], labels[::9]),
        "held out",
    )


def batches(data: Dataset, settings: Recipe) -> object:
    from converters.quiet import import_tensorflow

    import_tensorflow()
    from converters.training.batches import Batches
    from converters.training.examples import examples_of

    return Batches(examples_of(data, settings), settings)


def epoch(made: object) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    return [(x, y[0], w[0]) for x, y, w in (made[i] for i in range(len(made)))]  # type: ignore[index, arg-type]


def test_an_epoch_shows_each_picture_once_and_the_next_one_in_another_order(uneven: Dataset) -> None:
    made = batches(uneven, recipe(schedule="", augment="shift = 0.0\nzoom = 0.0\ncontrast = 0.0\nbrightness = 0.0"))
    first = np.concatenate([x[:, 0, 0, 0] for x, _, _ in epoch(made)])
    assert len(first) == 672
    counts = np.unique(np.rint(first * 127.5 + 127.5), return_counts=True)[1]
    assert counts.max() <= 3
    made.on_epoch_end()  # type: ignore[attr-defined]
    second = np.concatenate([x[:, 0, 0, 0] for x, _, _ in epoch(made)])
    assert not np.array_equal(first, second)
    made.begin(0)  # type: ignore[attr-defined]
    again = np.concatenate([x[:, 0, 0, 0] for x, _, _ in epoch(made)])
    assert np.array_equal(first, again)


def test_balanced_sampling_draws_each_class_equally_often(uneven: Dataset) -> None:
    settings = recipe()
    settings = msgspec.structs.replace(settings, schedule=msgspec.structs.replace(settings.schedule, sampling="balanced"))
    said = np.concatenate([y.argmax(1) for _, y, _ in epoch(batches(uneven, settings))])
    shares = np.bincount(said, minlength=7) / len(said)
    np.testing.assert_allclose(shares, 1 / 7, atol=0.05)


def test_class_weights_lift_rare_classes_and_leave_the_mean_at_one(uneven: Dataset) -> None:
    parts = epoch(batches(uneven, recipe(loss="alpha = 1.0")))
    said, weight = np.concatenate([y.argmax(1) for _, y, _ in parts]), np.concatenate([w for _, _, w in parts])
    assert weight.mean() == pytest.approx(1, abs=0.1)
    assert weight[said == 6].mean() / weight[said == 0].mean() == pytest.approx(100, rel=0.01)
    assert np.all(epoch(batches(uneven, recipe()))[0][2] == 1)


def test_targets_are_smoothed_and_lean_on_the_votes_where_there_are_any(uneven: Dataset) -> None:
    from converters.training.batches import _targets
    from converters.training.examples import examples_of

    settings = msgspec.toml.decode(RECIPE.replace("label_smoothing = 0.0", "label_smoothing = 0.14\nvotes = 0.5"), type=Recipe)
    targets = _targets(examples_of(uneven, settings), settings)
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    # Labelled angry; the crowd says half angry and half sad.
    np.testing.assert_allclose(targets[0], 0.86 * np.array([0.75, 0, 0, 0, 0.25, 0, 0]) + 0.02, atol=1e-6)
    np.testing.assert_allclose(targets[1], 0.86 * np.array([1, 0, 0, 0, 0, 0, 0]) + 0.02, atol=1e-6)
