"""Grad-CAM: against the closed form, on evidence whose place is known, and on the networks that people have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from converters.load import load_model
from converters.networks import Micro, MobileNet, Network, ResNet, build_network
from converters.proof.explain import CELL, GradCam, choose, explain, overlay
from converters.quiet import import_tensorflow, quiet
from edge.errors import DataError

SIZE, MAP = 32, 8


@pytest.fixture(scope="module")
def keras() -> Any:
    return import_tensorflow()[1]


def _bars(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Noise with bars in one quarter, upright (class 0) or lying (class 1); also which quarter: 0..3 by rows."""
    rng = np.random.default_rng(seed)
    pictures = rng.normal(0, 0.15, (count, SIZE, SIZE, 1)).astype(np.float32)
    classes, quarters = rng.integers(0, 2, count), rng.integers(0, 4, count)
    bars = np.where(np.arange(10)[None] % 4 < 2, 1.0, -1.0) * np.ones((10, 1))
    for picture, kind, quarter in zip(pictures, classes, quarters, strict=True):
        y, x = 16 * (quarter // 2) + 3, 16 * (quarter % 2) + 3
        picture[y : y + 10, x : x + 10, 0] += bars.T if kind else bars
    return pictures, classes, quarters


@pytest.fixture(scope="module")
def trained(keras: Any) -> Any:
    """A network that tells upright from lying bars wherever they are, trained for some seconds."""
    pictures, classes, _ = _bars(1500, 1)
    with quiet():
        keras.utils.set_random_seed(3)
        layers = keras.layers
        inputs = keras.Input((SIZE, SIZE, 1))
        x = layers.Conv2D(8, 5, strides=2, padding="same", activation="relu")(inputs)
        x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(x)
        x = layers.Dense(2, name="logits")(layers.GlobalAveragePooling2D()(x))
        model = keras.Model(inputs, layers.Softmax()(x))
        model.compile(keras.optimizers.Adam(0.005), "sparse_categorical_crossentropy")
        model.fit(pictures, classes, epochs=6, batch_size=50, verbose=0)
    return model


def test_the_map_lies_where_the_evidence_is(trained: Any):
    pictures, classes, quarters = _bars(200, 2)
    said = trained.predict(pictures, verbose=0).argmax(axis=1)
    assert (said == classes).mean() > 0.97
    heat = GradCam(trained, "bars").maps(pictures, said)
    assert heat.shape == (200, SIZE, SIZE)
    assert (heat.min(), heat.max()) == (0, 1)
    parts = np.stack([heat[:, y : y + 16, x : x + 16].sum(axis=(1, 2)) for y in (0, 16) for x in (0, 16)], axis=1)
    shares = parts / parts.sum(axis=1, keepdims=True)
    # A quarter would be chance.
    assert np.median(shares[np.arange(200), quarters]) > 0.7
    assert (shares.argmax(axis=1) == quarters).mean() > 0.95


def test_it_is_the_class_activation_map_where_that_is_known(keras: Any, trained: Any):
    """With a global average and one dense layer, Grad-CAM is the CAM of Zhou et al. 2016 (Selvaraju et al., section 3.1)."""
    pictures, classes, _ = _bars(5, 3)
    convolutions = keras.Model(trained.inputs, trained.layers[2].output)
    activations = convolutions.predict(pictures, verbose=0)
    weights = trained.get_layer("logits").get_weights()[0]
    camera = GradCam(trained, "bars")
    for asked in (classes, 1 - classes):
        expected = np.maximum(np.einsum("nhwk,kn->nhw", activations, weights[:, asked]), 0)
        expected /= np.maximum(expected.max(axis=(1, 2), keepdims=True), 1e-12)
        assert np.abs(camera._coarse(pictures, asked) - expected).max() < 1e-5


@pytest.mark.parametrize("ending", ["softmax layer", "activation layer", "dense with softmax", "logits"])
def test_every_ending_gives_the_same_map(keras: Any, trained: Any, ending: str):
    pictures, classes, _ = _bars(4, 4)
    layers, logits = keras.layers, trained.get_layer("logits")
    if ending == "dense with softmax":
        output = layers.Dense(2, activation="softmax", name="last")(logits.input)
    else:
        tail = {"softmax layer": layers.Softmax(), "activation layer": layers.Activation("softmax"), "logits": lambda x: x}
        output = tail[ending](logits.output)
    model = keras.Model(trained.inputs, output)
    if ending == "dense with softmax":
        model.get_layer("last").set_weights(logits.get_weights())
    model.trainable = False
    expected = GradCam(trained, "bars").maps(pictures, classes)
    assert np.abs(GradCam(model, "bars").maps(pictures, classes) - expected).max() < 1e-5


@pytest.mark.parametrize(
    ("settings", "places"),
    [(Micro(attention="cbam"), 3), (ResNet(width=8, stem="7x7", hidden=16), 2), (MobileNet(width=0.35, attention="se"), 6)],
)
def test_our_families_are_looked_at_on_their_last_map(keras: Any, settings: Network, places: int):
    with quiet():
        keras.utils.set_random_seed(0)
        model = build_network(settings, (48, 48, 1), 7)
    pictures = np.random.default_rng(0).normal(0, 1, (3, 48, 48, 1)).astype(np.float32)
    camera = GradCam(model, "model")
    assert camera._coarse(pictures, np.array([0, 3, 6])).shape == (3, places, places)
    assert camera.maps(pictures, np.array([0, 3, 6])).shape == (3, 48, 48)


def test_a_network_of_others_is_looked_at_too(testdata: Path):
    model = load_model(testdata / "models" / "fer2013_mini_XCEPTION.110-0.65.hdf5").keep[0]
    camera = GradCam(model, "mini")
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 1)).astype(np.float32)
    # Its last map has a channel for each class, so the map of a class is that channel.
    inner = camera._before.predict(pictures, verbose=0)
    expected = np.maximum(np.stack([inner[0, ..., 2], inner[1, ..., 5]]), 0)
    expected /= np.maximum(expected.max(axis=(1, 2), keepdims=True), 1e-12)
    assert np.abs(camera._coarse(pictures, np.array([2, 5])) - expected).max() < 1e-5


def test_what_has_no_places_is_refused_by_name(keras: Any):
    layers = keras.layers
    inputs = keras.Input((8, 8, 1))
    flat = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(inputs)))
    with pytest.raises(DataError, match=r"^m\.keras: no layer keeps places"):
        GradCam(flat, "m.keras")
    with pytest.raises(DataError, match=r"^m\.h5: came without layers"):
        GradCam(None, "m.h5")
    first = layers.Conv2D(4, 3, name="first")(inputs)
    second = layers.Conv2D(4, 3, name="second")(first)
    both = layers.Concatenate()([layers.GlobalAveragePooling2D()(second), layers.GlobalAveragePooling2D()(first)])
    with pytest.raises(DataError, match="layers before 'second' reach the output past it"):
        GradCam(keras.Model(inputs, layers.Dense(3)(both)), "m.keras")


def test_samples_are_of_their_kind_and_the_seeds_own():
    rng = np.random.default_rng(0)
    truth, said = rng.integers(0, 4, 300), rng.integers(0, 3, 300)
    right, wrong = choose(truth, said, 4, 5, seed=1)
    for index in range(4):
        assert (truth[right[index]] == index).all()
        assert (said[right[index]] == index).all()
        assert (truth[wrong[index]] == index).all()
        assert (said[wrong[index]] != index).all()
    assert [len(rows) for rows in right] == [5, 5, 5, 0]
    assert [len(rows) for rows in wrong] == [5, 5, 5, 5]
    again, other = choose(truth, said, 4, 5, seed=1), choose(truth, said, 4, 5, seed=2)
    assert all((a == b).all() for a, b in zip(right, again[0], strict=True))
    assert any((a != b).any() for a, b in zip(right[:3], other[0][:3], strict=True))


def test_the_overlay_leaves_what_did_not_speak_as_it_is():
    pixels = np.full((48, 48, 1), 90, np.uint8)
    heat = np.zeros((48, 48), np.float32)
    heat[:20, 28:] = 1
    shown = overlay(pixels, heat).astype(int)
    assert np.abs(shown[100:, :60] - 90).max() <= 1
    # Inferno ends in a pale yellow.
    assert shown[10, -10, 0] > 200
    assert shown[10, -10, 0] > shown[10, -10, 2]
    blue = np.zeros((8, 8, 3), np.uint8)
    blue[..., 0] = 200
    assert overlay(blue, np.zeros((8, 8), np.float32), "bgr")[5, 5].tolist() == [0, 0, 200]
    assert overlay(blue, np.zeros((8, 8), np.float32), "rgb")[5, 5].tolist() == [200, 0, 0]


def test_the_picture_is_a_grid_with_a_row_for_each_class(trained: Any):
    tensors, classes, _ = _bars(120, 5)
    pixels = np.clip(127.5 + 100 * tensors, 0, 255).astype(np.uint8)
    # Every eighth answer of class 0 is wrong, none of class 1.
    said = np.where((classes == 0) & (np.arange(120) % 8 == 0), 1, classes)
    scores = np.where(np.eye(2)[said] == 1, 0.9, 0.1).astype(np.float32)
    content = explain(GradCam(trained, "bars"), "Where it looks", ("upright", "lying"), (pixels, tensors, classes, scores), 3, 0)
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    ink = (picture < 250).astype(np.uint8)
    _, _, boxes, _ = cv2.connectedComponentsWithStats(ink)
    side = 0.94 * CELL * 150
    cells = [box for box in boxes[1:] if abs(box[2] - side) < 8 and abs(box[3] - side) < 8]
    # Three right and three wrong of the first class; three right and the word "none" of the second.
    rows = sorted(round(box[1] / side) for box in cells)
    assert len(cells) == 9, boxes
    assert [rows.count(row) for row in sorted(set(rows))] == [6, 3]
    same = explain(GradCam(trained, "bars"), "Where it looks", ("upright", "lying"), (pixels, tensors, classes, scores), 3, 0)
    assert same == content
