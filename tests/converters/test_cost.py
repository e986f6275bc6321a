"""What a picture costs: hand counts, the measured table of the networks, and the .tflite against its original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.export.onnx import to_onnx
from converters.export.tflite import save_fixed, to_tflite
from converters.load import load_model
from converters.networks import Micro, Network, ResNet, build_network
from converters.proof.cost import macs, onnx_cost, parameters, tflite_cost
from converters.quiet import import_tensorflow, quiet
from edge.emotion.classify import DEFAULT_MODEL
from edge.errors import DataError


@pytest.fixture(scope="module")
def keras() -> Any:
    return import_tensorflow()[1]


def test_every_layer_is_counted_as_by_hand(keras: Any):
    layers = keras.layers
    inputs = keras.Input((10, 12, 2))
    x = layers.Conv2D(4, 3)(inputs)  # 8x10 places, 3*3*2*4 weights
    x = layers.Conv2D(8, 3, strides=2, padding="same", groups=2)(x)  # 4x5 places, 3*3*2*8 weights
    x = layers.BatchNormalization()(x)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)  # 4x5, 3*3*16
    x = layers.SeparableConv2D(6, 3, padding="same")(x)  # 4x5, 3*3*16 and 16*6
    x = layers.Conv2DTranspose(3, 2, strides=2)(x)  # 4x5 places of its input, 2*2*6*3
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Conv2D(5, 1)(x)  # 1x1 place, 3*5
    x = layers.Dense(7)(layers.Flatten()(x))  # 5*7
    expected = 80 * 72 + 20 * 144 + 20 * 144 + 20 * (144 + 96) + 20 * 72 + 15 + 35
    assert macs(keras.Model(inputs, x)) == expected


def test_a_layer_that_is_called_twice_costs_twice_but_is_stored_once(keras: Any):
    inputs = keras.Input((8,))
    shared = keras.layers.Dense(8)
    model = keras.Model(inputs, shared(shared(inputs)))
    assert (macs(model), parameters(model)) == (128, 72)


def test_nested_and_sequential_models_are_counted_through(keras: Any):
    layers = keras.layers
    inner = keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(8, 3), layers.Flatten()])
    model = keras.Sequential([keras.Input((10, 10, 1)), layers.Conv2D(4, 3), inner, layers.Dense(3)])
    assert macs(model) == 64 * 36 + 36 * 288 + 288 * 3


def test_a_network_of_free_size_needs_to_be_told_one(keras: Any):
    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs)))
    assert macs(model, (10, 10)) == 64 * 36
    with pytest.raises(DataError, match="takes pictures of any size"):
        macs(model)


def test_a_layer_that_is_not_known_is_named_instead_of_counted_as_nothing(keras: Any):
    inputs = keras.Input((6, 4))
    model = keras.Model(inputs, keras.layers.LSTM(3, name="memory")(inputs))
    with pytest.raises(DataError, match=r"layer 'memory' \(LSTM\)"):
        macs(model)


@pytest.mark.parametrize(
    ("settings", "millions"),
    [(ResNet(), 312), (ResNet(width=32), 78), (ResNet(stem="7x7"), 94), (Micro((16, 32, 48, 64), (1, 2, 2, 1)), None)],
)
def test_the_families_cost_what_their_table_says(settings: Network, millions: int | None):
    import_tensorflow()
    model = build_network(settings, (48, 48, 1), 7)
    assert parameters(model) == model.count_params()
    if millions is not None:
        assert round(macs(model) / 1e6) == millions


@pytest.mark.parametrize("name", ["mobilenet", "micro"])
def test_the_shipped_artifacts_cost_what_their_originals_do(name: str):
    cost = tflite_cost(DEFAULT_MODEL.with_name(f"{name}.int8.tflite").read_bytes())
    keras = load_model(DEFAULT_MODEL.parents[2] / "models" / f"{name}.keras").keep[0]
    assert cost.macs == macs(keras)
    # Batch normalisation is folded: per channel four numbers go and one bias comes.
    norms = [layer for layer in keras.layers if type(layer).__name__ == "BatchNormalization"]
    assert cost.parameters == parameters(keras) - sum(3 * layer.gamma.shape[0] for layer in norms)


@pytest.fixture(scope="module")
def saved(network: Any, keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network with biases by chance: equal or empty constants would be stored once, or not at all."""
    path = tmp_path_factory.mktemp("cost") / "model.keras"
    rng = np.random.default_rng(0)
    with quiet():
        model = keras.models.clone_model(network)
        model.set_weights([rng.standard_normal(weight.shape) for weight in model.get_weights()])
        model.save(path)
    return path


@pytest.mark.parametrize("quantization", ["float32", "float16", "int8-dynamic"])
def test_every_format_of_a_network_costs_the_same(saved: Path, tmp_path: Path, quantization: Any):
    model = load_model(saved)
    save_fixed(model, 24, 24, tmp_path)
    cost = tflite_cost(to_tflite(tmp_path, quantization))
    assert (cost.macs, cost.parameters) == (macs(model.keep[0]), parameters(model.keep[0]))


def test_onnx_costs_what_tflite_costs(keras: Any, tmp_path: Path):
    layers = keras.layers
    with quiet():
        inputs = keras.Input((16, 16, 1))
        x = layers.Conv2D(8, 3, strides=2)(inputs)
        x = layers.DepthwiseConv2D(3, activation="relu")(x)
        x = layers.Reshape((25, 8))(x)
        x = layers.Dense(16)(x)
        x = layers.Dense(7)(layers.GlobalAveragePooling1D()(x))
        keras.Model(inputs, x).save(tmp_path / "net.keras")
    model = load_model(tmp_path / "net.keras")
    (tmp_path / "saved").mkdir()
    save_fixed(model, 16, 16, tmp_path / "saved")
    expected = 7 * 7 * 9 * 8 + 5 * 5 * 9 * 8 + 25 * 8 * 16 + 16 * 7
    assert tflite_cost(to_tflite(tmp_path / "saved", "float32")).macs == expected
    assert onnx_cost(to_onnx(model, 16, 16)).macs == expected
