"""Calibration without a data set: a network with batch normalisation is asked what it remembers, others get noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from converters.compress.dream import MOST, dream
from converters.compress.samples import NOISE, REMEMBERED, make_up
from converters.progress import unseen
from converters.quiet import import_tensorflow, quiet
from edge.emotion.manifest import InputSpec
from edge.emotion.preprocess import to_tensor

SPEC = InputSpec(24, 24, 1, "gray", (127.5,), (1 / 127.5,))


def _pictures() -> np.ndarray:
    """Dark pictures of strong vertical stripes: nothing like noise."""
    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(24) * 1.3 + rng.uniform(0, 6, (256, 1, 1)))
    return np.clip(60 + 55 * np.broadcast_to(wave, (256, 24, 24)), 0, 255).astype(np.uint8)[..., None]


@pytest.fixture(scope="module")
def network() -> Any:
    """A network whose batch normalisation has seen the stripes."""
    _, keras = import_tensorflow()
    with quiet():
        keras.utils.set_random_seed(2)
        layers = keras.layers
        inputs = keras.Input((24, 24, 1))
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.0, name="one")(layers.Conv2D(8, 3)(inputs)))
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.0, name="two")(layers.Conv2D(8, 3, strides=2)(x)))
        model = keras.Model(inputs, layers.Dense(7)(layers.GlobalAveragePooling2D()(x)))
        for _ in range(2):
            model(to_tensor(_pictures(), SPEC), training=True)
    return model


def _mean_inputs(network: Any, pixels: np.ndarray) -> list[np.ndarray]:
    _, keras = import_tensorflow()
    watch = keras.Model(network.inputs, [network.get_layer(name).input for name in ("one", "two")])
    with quiet():
        seen = watch(to_tensor(pixels, SPEC), training=False)
    return [np.asarray(values).mean(axis=(0, 1, 2)) for values in seen]


def _far(network: Any, pixels: np.ndarray) -> float:
    """How far the channels' means are from those of the stripes."""
    pairs = zip(_mean_inputs(network, pixels), _mean_inputs(network, _pictures()), strict=True)
    return float(sum(np.abs(ours - theirs).sum() for ours, theirs in pairs))


def test_made_up_pictures_have_the_statistics_of_those_that_were_learned_from(network: Any):
    made = dream(network, SPEC, 0, unseen)
    assert (made.shape, made.dtype) == ((MOST, 24, 24, 1), np.uint8)
    noise = make_up(None, SPEC, MOST, 0, unseen)
    assert noise.kind == NOISE
    assert _far(network, made) < 0.2 * _far(network, noise.pixels)


def test_a_network_is_asked_for_one_group_and_a_seed_gives_the_same(network: Any):
    first, second = (make_up(network, SPEC, 500, 3, unseen) for _ in range(2))
    assert first.kind == REMEMBERED
    assert len(first.pixels) == MOST
    np.testing.assert_array_equal(first.pixels, second.pixels)


def test_a_network_inside_a_network_is_asked_too(network: Any):
    _, keras = import_tensorflow()
    with quiet():
        inputs = keras.Input((24, 24, 1))
        outer = keras.Model(inputs, keras.layers.Activation("softmax")(network(inputs)))
    made = make_up(outer, SPEC, MOST, 0, unseen)
    assert made.kind == REMEMBERED
    noise = make_up(None, SPEC, MOST, 0, unseen)
    assert _far(network, made.pixels) < 0.2 * _far(network, noise.pixels)
    assert "call" not in vars(network.get_layer("one")), "the layers are left as they were"
