"""The gate catches what is known to ruin a network: each control is a conversion with one thing wrong, on real faces."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from converters.build import Builder, Built
from converters.case import Case, open_case
from converters.compress.activations import observe, watch_tflite
from converters.compress.prune import keras_model
from converters.compress.quantize import quantize
from converters.describe import Description
from converters.export.tflite import save_fixed, to_tflite
from converters.formats import FORMATS
from converters.judge import Judged, judge, open_built
from converters.load import load_model
from converters.progress import unseen
from converters.quiet import import_tensorflow, quiet
from converters.request import Request
from edge.emotion.preprocess import to_batch, to_tensor

MINI = "fer2013_mini_XCEPTION.110-0.65.hdf5"
INT8 = FORMATS["int8"]


@pytest.fixture(scope="module")
def case(testdata: Path) -> Case:
    """The real network with the real faces, every fourth of those to measure on."""
    found = open_case(
        Request(testdata / "models" / MINI, ("int8",), Path(), testdata / "data" / "fer2013-train-public.npz", samples=64),
        unseen,
    )
    measured = found.measured
    assert measured.truth is not None
    quarter = dataclasses.replace(
        measured, pixels=measured.pixels[::4], truth=measured.truth[::4], reference=measured.reference[::4]
    )
    return dataclasses.replace(found, measured=quarter)


def _judged(case: Case, builder: Builder, built: Built) -> Judged:
    exact = open_built(case, FORMATS["fp32"], builder.build(FORMATS["fp32"]), "float")
    return judge(case, INT8, built, open_built(case, INT8, built, "int8"), exact, Path("model.int8.tflite"), unseen)


def _converted(case: Case, changed: Case | None = None) -> Judged:
    """INT8 made in one case, judged in another."""
    made = changed or case
    with Builder(made.model, made.resolved.input, made.calibration, unseen) as builder:
        return _judged(made, builder, builder.build(INT8))


def _failed(judged: Judged) -> set[str]:
    return {check.name for check in judged.comparison.checks if not check.passed}


def test_nothing_wrong_passes(case: Case):
    assert _failed(_converted(case)) == set()


def test_a_wrong_mean_is_caught(case: Case):
    wrong = msgspec.structs.replace(case.resolved.input, mean=(0.0,), scale=(1 / 255,))
    changed = dataclasses.replace(case, resolved=dataclasses.replace(case.resolved, input=wrong))
    assert "accuracy drop" in _failed(_converted(case, changed))


def test_blurred_calibration_is_caught(case: Case):
    blurred = np.stack([cv2.GaussianBlur(face, (0, 0), 6)[..., None] for face in case.calibration.pixels])
    changed = dataclasses.replace(case, calibration=dataclasses.replace(case.calibration, pixels=blurred))
    assert "agreement" in _failed(_converted(case, changed))


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 6, 5, 4], [3, 0, 6, 5, 2, 1, 4], [1, 2, 0, 3, 4, 5, 6]])
def test_shuffled_labels_are_caught(case: Case, order: list[int]):
    changed = dataclasses.replace(case, labels=tuple(np.array(case.labels)[order]))
    truth = case.measured.truth
    assert truth is not None
    # The data set speaks of its classes by name; under other names the same rows have other numbers.
    changed = dataclasses.replace(changed, measured=dataclasses.replace(case.measured, truth=np.argsort(order)[truth]))
    assert "gain by another order of labels" in _failed(_converted(case, changed))


def _colour_network() -> Any:
    """Seven classes that are told apart by their colour alone."""
    _, keras = import_tensorflow()
    with quiet():
        keras.utils.set_random_seed(5)
        inputs = keras.Input((24, 24, 3))
        x = keras.layers.Conv2D(12, 3, strides=2, activation="relu")(inputs)
        x = keras.layers.GlobalAveragePooling2D()(x)
        return keras.Model(inputs, keras.layers.Dense(7, activation="softmax")(x))


def test_swapped_colours_are_caught(tmp_path: Path):
    rng = np.random.default_rng(0)
    centres = rng.permutation(np.linspace(20, 230, 21)).reshape(7, 3)
    for kind, centre in enumerate(centres):
        (tmp_path / "faces" / f"kind{kind}").mkdir(parents=True)
        for number in range(40):
            picture = np.clip(centre + rng.normal(0, 12, (24, 24, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "faces" / f"kind{kind}" / f"{number}.png"), picture[..., ::-1])
    network = _colour_network()
    labels = np.arange(280) % 7
    pictures = np.clip(centres[labels][:, None, None] + rng.normal(0, 12, (280, 24, 24, 3)), 0, 255)
    with quiet():
        network.compile("adam", "sparse_categorical_crossentropy")
        network.optimizer.learning_rate = 0.02
        network.fit((pictures - 127.5) / 127.5, labels, epochs=30, verbose=0)
        network.save(tmp_path / "colour.keras")
    names = tuple(f"kind{kind}" for kind in range(7))
    given = Description(labels=names, color="rgb", mean=(127.5,), scale=(1 / 127.5,))
    right = open_case(Request(tmp_path / "colour.keras", ("int8",), tmp_path, tmp_path / "faces", given), unseen)
    assert _failed(_converted(right)) == set()
    swapped = msgspec.structs.replace(right.resolved.input, color="bgr")
    turned = dataclasses.replace(right.measured, pixels=right.measured.pixels[..., ::-1].copy())
    changed = dataclasses.replace(right, resolved=dataclasses.replace(right.resolved, input=swapped), measured=turned)
    assert {"accuracy drop", "agreement"} <= _failed(_converted(right, changed))


def _with_a_dead_channel(case: Case) -> Case:
    """The network with one channel that ReLU keeps at zero, and a depthwise layer that would multiply it by a lot.

    It is what training leaves behind: a channel of no variance is divided by nearly nothing when batch normalisation is
    folded (Sheng et al. 2018, arXiv:1803.08607, section 3.1).
    """
    model = load_model(case.request.source)
    network = keras_model(model)
    norm, depthwise = network.get_layer("batch_normalization_4"), network.get_layer("separable_conv2d_2")
    gamma, beta, mean, variance = norm.get_weights()
    gamma[0], beta[0] = 0.0, -1.0
    norm.set_weights([gamma, beta, mean, variance])
    kernel, pointwise = depthwise.get_weights()
    kernel[:, :, 0] *= 300.0
    depthwise.set_weights([kernel, pointwise])
    tensors = to_tensor(case.measured.pixels, case.resolved.input)
    measured = dataclasses.replace(case.measured, reference=model.predictor()(tensors))
    return dataclasses.replace(case, model=model, measured=measured)


def test_one_scale_for_a_whole_depthwise_layer_is_caught(case: Case, tmp_path: Path):
    case = _with_a_dead_channel(case)
    save_fixed(case.model, 64, 64, tmp_path)
    content, spec = to_tflite(tmp_path, "float32"), case.resolved.input
    pictures = [to_batch(to_tensor(picture, spec), spec) for picture in case.calibration.pixels]
    ranges = observe(watch_tflite(content), pictures, "minmax")
    with Builder(case.model, spec, case.calibration, unseen) as builder:
        by_channel = _judged(case, builder, Built(quantize(content, ranges)))
        by_layer = _judged(case, builder, Built(quantize(content, ranges, per_channel=False)))
    assert _failed(by_channel) == set()
    assert "agreement" in _failed(by_layer)
