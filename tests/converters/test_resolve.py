"""Labels and preprocessing: given, found by trying on labelled rows, or assumed and said so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.datasets import FER2013_LABELS, Dataset, Split
from converters.describe import Description
from converters.load import load_model
from converters.loading.model import FloatModel
from converters.resolve import Predict, resolve, resolve_labels
from edge.errors import DataError


@pytest.fixture(scope="module")
def mini(testdata: Path) -> tuple[FloatModel, Predict]:
    """A real network of others that was trained in [-1, 1]."""
    model = load_model(testdata / "models" / "fer2013_mini_XCEPTION.110-0.65.hdf5")
    return model, model.predictor()


MINUS_ONE = {"mean": (127.5,), "scale": (0.0078431,)}
ZERO = {"mean": (0.0,), "scale": (0.0039,)}


def test_the_better_range_is_found_on_labelled_rows(mini: tuple[FloatModel, Predict], fer2013: Dataset):
    found = resolve(*mini, Description(), fer2013.train, seed=0)
    assert found.input.mean == (127.5,)
    assert found.how.startswith("best of [-1, 1] ")
    assert "[0, 1]" in found.how
    assert found.output.kind == "probabilities"
    assert found.warnings == ()


def test_the_right_range_given_is_taken_without_a_warning(mini: tuple[FloatModel, Predict], fer2013: Dataset):
    found = resolve(*mini, Description(**MINUS_ONE), fer2013.train, seed=0)
    assert found.how == "given ([-1, 1])"
    assert found.warnings == ()


def test_a_swapped_range_is_taken_as_given_and_warned_of(mini: tuple[FloatModel, Predict], fer2013: Dataset):
    found = resolve(*mini, Description(**ZERO), fer2013.train, seed=0)
    assert found.input.mean == (0.0,)
    assert len(found.warnings) == 1
    assert "data and model disagree: read as [-1, 1]" in found.warnings[0]


def test_labels_in_another_order_are_warned_of(mini: tuple[FloatModel, Predict], fer2013: Dataset):
    images, labels = fer2013.train.images, fer2013.train.labels
    assert labels is not None
    found = resolve(*mini, Description(**MINUS_ONE), Split(images[:800], (labels[:800] + 3) % 7), seed=0)
    assert any("check the order of --labels" in warning for warning in found.warnings)


def test_without_labels_the_usual_range_is_assumed_with_a_warning(mini: tuple[FloatModel, Predict]):
    found = resolve(*mini, Description(), None, seed=0)
    assert found.input.mean == (127.5,)
    assert found.warnings == ("nothing tells which input the network expects; [-1, 1] is assumed (see --mean)",)
    assert resolve(*mini, Description(**ZERO), None, seed=0).warnings == ()


def _network(channels: int = 1, size: int | None = 16, rescales: bool = False) -> tuple[FloatModel, Any]:
    model = FloatModel(Path("m.h5"), "test", None, size, size, channels, 4, lambda tensor: tensor, None, rescales)
    return model, lambda tensors: tensors.reshape(len(tensors), -1)[:, :4]


def test_a_network_that_rescales_gets_pixels():
    assert resolve(*_network(rescales=True), Description(), None, 0).input.scale == (1.0,)


def test_numbers_per_channel_are_taken_as_they_are():
    given = Description(color="bgr", mean=(104.0, 117.0, 123.0), scale=(1.0,))
    found = resolve(*_network(channels=3), given, None, 0)
    assert (found.input.color, found.input.mean, found.warnings) == ("bgr", (104.0, 117.0, 123.0), ())


def test_scores_beyond_probabilities_are_logits_unless_said_otherwise():
    assert resolve(*_network(), Description(), None, 0).output.kind == "logits"
    assert resolve(*_network(), Description(output_kind="probabilities"), None, 0).output.kind == "probabilities"


def test_sigmoids_are_warned_of():
    model, _ = _network()
    found = resolve(model, lambda tensors: np.full((len(tensors), 4), 0.5, np.float32), Description(**ZERO), None, 0)
    assert "do not sum to 1" in found.warnings[0]


def test_weights_that_are_not_numbers_are_refused():
    model, _ = _network()
    with pytest.raises(DataError, match="not finite"):
        resolve(model, lambda tensors: np.full((len(tensors), 4), np.nan, np.float32), Description(), None, 0)


@pytest.mark.parametrize(
    ("network", "given", "sentence"),
    [
        ({}, Description(color="rgb"), "takes pictures of 1 channel"),
        ({"channels": 3}, Description(color="gray"), "takes pictures of 3 channel"),
        ({"size": None}, Description(), "takes pictures of any size.*--shape 48x48"),
        ({}, Description(shape=(48, 48)), "takes 16x16 pictures, not 48x48"),
        ({}, Description(mean=(1.0, 2.0, 3.0), scale=(1.0,)), "mean has 3 numbers, expected 1"),
        ({}, Description(landmarks=((0.5, 0.5),)), "landmarks has 1 points, expected 5"),
    ],
)
def test_what_does_not_fit_the_network_is_refused(network: dict[str, Any], given: Description, sentence: str):
    with pytest.raises(DataError, match=sentence):
        resolve(*_network(**network), given, None, 0)


def test_any_size_takes_the_given_one():
    found = resolve(*_network(size=None), Description(shape=(24, 32)), None, 0).input
    assert (found.height, found.width) == (24, 32)


@pytest.mark.parametrize(
    ("outputs", "labels", "sentence"),
    [
        (8, None, "gives 8 scores; name them in their order: --labels"),
        (7, ("a", "b", "c"), "gives 7 scores, but 3 labels are named"),
        (2, ("a", "b", "c"), "gives 2 scores, but 3 labels are named"),
    ],
)
def test_labels_that_do_not_fit_are_refused(outputs: int, labels: Any, sentence: str):
    model = FloatModel(Path("m.h5"), "test", None, 16, 16, 1, outputs, lambda tensor: tensor, None)
    with pytest.raises(DataError, match=sentence):
        resolve_labels(model, labels)


def test_seven_outputs_are_those_of_fer2013():
    model = FloatModel(Path("m.h5"), "test", None, 16, 16, 1, 7, lambda tensor: tensor, None)
    assert resolve_labels(model, None) == FER2013_LABELS
