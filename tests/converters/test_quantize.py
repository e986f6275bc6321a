"""Float network and ranges -> INT8: what TensorFlow's own converter gives, layers left in float, ranges used again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from calibration.ranges import from_json, to_json
from calibration.synthetic import pink_noise
from converters.build import Builder
from converters.compress.activations import observe, watch_onnx, watch_tflite
from converters.compress.flatbuffer import operators
from converters.compress.names import layer_name, unique
from converters.compress.quantize import left_in_float, quantize
from converters.compress.samples import NOISE, REAL, Calibration
from converters.compress.sensitivity import layers_of
from converters.export.onnx import to_onnx
from converters.export.tflite import save_fixed, to_tflite
from converters.formats import FORMATS
from converters.load import FloatModel, load_model
from converters.progress import unseen
from converters.quiet import import_tensorflow, quiet
from edge.emotion.manifest import InputSpec
from edge.emotion.preprocess import to_batch, to_tensor
from edge.errors import DataError
from edge.runtime import open_runtime

SPEC = InputSpec(24, 24, 1, "gray", (127.5,), (1 / 127.5,))
PIXELS = pink_noise(24, (24, 24, 1), 0)
PICTURES = [to_batch(to_tensor(picture, SPEC), SPEC) for picture in PIXELS]


def _answers(content: bytes, suffix: str = ".tflite") -> np.ndarray:
    runtime = open_runtime(content, suffix)
    shape = runtime.input_shape
    return np.concatenate([runtime.run(picture.reshape(shape))[0] for picture in PICTURES])


@pytest.fixture(scope="module")
def model(kept: Path) -> FloatModel:
    return load_model(kept / "model.keras")


@pytest.fixture(scope="module")
def content(model: FloatModel, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("saved")
    save_fixed(model, 24, 24, folder)
    return to_tflite(folder, "float32")


@pytest.fixture(scope="module")
def lame(tmp_path_factory: pytest.TempPathFactory) -> FloatModel:
    """A network that INT8 ruins: one channel of the first layer is 400 times as large as the others, and the second layer
    takes that back, so that one scale cannot serve both.
    """
    _, keras = import_tensorflow()
    path = tmp_path_factory.mktemp("lame") / "lame.keras"
    with quiet():
        keras.utils.set_random_seed(6)
        inputs = keras.Input((24, 24, 1))
        x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="first")(inputs)
        x = keras.layers.Conv2D(12, 3, strides=2, activation="relu", name="second")(x)
        x = keras.layers.Conv2D(12, 3, activation="relu", name="third")(x)
        x = keras.layers.Flatten()(x)
        network = keras.Model(inputs, keras.layers.Dense(7, name="last", kernel_initializer="he_normal")(x))
        first, second = network.get_layer("first"), network.get_layer("second")
        (kernel, bias), (following, rest) = first.get_weights(), second.get_weights()
        kernel[..., 0] *= 400
        following[:, :, 0] /= 400
        first.set_weights([kernel, bias])
        second.set_weights([following, rest])
        network.save(path)
    return load_model(path)


@pytest.fixture
def builder(lame: FloatModel) -> Iterator[Builder]:
    with Builder(lame, SPEC, Calibration(PIXELS, NOISE), unseen) as builder:
        yield builder


def test_without_anything_in_place_it_is_what_tensorflow_makes(model: FloatModel, content: bytes, tmp_path: Path):
    tf, _ = import_tensorflow()
    save_fixed(model, 24, 24, tmp_path)
    with quiet():
        converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([picture] for picture in PICTURES)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        theirs = bytes(converter.convert())
    ours = quantize(content, observe(watch_tflite(content), PICTURES, "minmax"))
    np.testing.assert_array_equal(_answers(ours), _answers(theirs))
    assert left_in_float(ours) == []


def test_a_layer_that_stays_in_float_is_told(content: bytes):
    ranges = observe(watch_tflite(content), PICTURES, "minmax")
    chosen = next(operator for operator in operators(content) if operator.kind == "DEPTHWISE_CONV_2D")
    mixed = quantize(content, ranges, {chosen.tensor})
    assert left_in_float(mixed) == [chosen]


def test_ranges_of_another_network_are_refused(content: bytes):
    with pytest.raises(DataError, match="the ranges know nothing of tensor"):
        quantize(content, {"image": (0.0, 1.0)})


def test_the_worst_layers_are_found_and_float_mends_them(builder: Builder):
    exact = _answers(builder.build(FORMATS["fp32"]).content)
    whole, worst = builder.build(FORMATS["int8"]), builder.worst(FORMATS["int8"], 2)
    mended = builder.build(FORMATS["int8"], worst)
    assert set(worst) == {"first", "second"}
    assert mended.in_float == worst
    error = [np.abs(_answers(part.content) - exact).mean() for part in (whole, mended)]
    assert error[1] < 0.2 * error[0]
    noise = {layer.layer: layer for layer in mended.layers}
    assert [layer.layer for layer in mended.layers][:3] == ["first", "second", "third"]
    assert noise["first"].in_float
    assert noise["third"].alone_db is not None
    assert noise["first"].alone_db is not None
    assert noise["third"].alone_db > noise["first"].alone_db + 10
    assert all(layer.alone_db is None for layer in whole.layers)


def test_ranges_are_used_again_instead_of_pictures(builder: Builder, lame: FloatModel):
    before = builder.build(FORMATS["int8"])
    assert before.ranges is not None
    again = from_json(to_json(before.ranges))
    other = Calibration(np.zeros_like(PIXELS), NOISE)
    with Builder(lame, SPEC, other, unseen, given=[again]) as second:
        assert second.build(FORMATS["int8"]).content == before.content
        assert second.build(FORMATS["int8"]).given
    # The same network that sees its pictures in another range is another one.
    spec = InputSpec(24, 24, 1, "gray", (0.0,), (1 / 255,))
    with Builder(lame, spec, other, unseen, given=[again]) as third, pytest.raises(DataError, match="made for another network"):
        third.build(FORMATS["int8"])


def test_onnx_is_the_network_and_its_graph_is_clean(lame: FloatModel, builder: Builder):
    made = builder.build(FORMATS["onnx-fp32"]).content
    graph = onnx.load_from_string(made)
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", 13)]
    assert [side.dim_value for side in graph.graph.input[0].type.tensor_type.shape.dim] == [1, 1, 24, 24]
    assert (graph.graph.input[0].name, graph.graph.output[0].name) == ("image", "scores")
    kinds = [node.op_type for node in graph.graph.node]
    assert kinds.count("Conv") == 3
    assert kinds[0] == "Conv", "no reshape of a picture that lies as it should"
    # One Transpose is the network's own: Flatten lays channels last before the dense layer.
    assert kinds.count("Transpose") <= 1
    np.testing.assert_allclose(_answers(made, ".onnx"), lame.predictor()(np.concatenate(PICTURES)), atol=1e-4, rtol=1e-5)
    assert to_onnx(lame, 24, 24) == made


def test_batch_normalisation_is_folded_away(tmp_path: Path):
    _, keras = import_tensorflow()
    with quiet():
        layers = keras.layers
        inputs = keras.Input((24, 24, 1))
        x = layers.ReLU()(layers.BatchNormalization(name="a")(layers.Conv2D(8, 3, use_bias=False)(inputs)))
        x = layers.ReLU(6.0)(layers.BatchNormalization(name="b")(layers.DepthwiseConv2D(3, strides=2, use_bias=False)(x)))
        x = layers.Dense(7, activation="softmax")(layers.GlobalAveragePooling2D()(x))
        network = keras.Model(inputs, x)
        for name in "ab":
            norm, rng = network.get_layer(name), np.random.default_rng(1)
            norm.set_weights([rng.uniform(0.5, 2, 8), rng.normal(0, 1, 8), rng.normal(0, 1, 8), rng.uniform(0.5, 2, 8)])
        network.save(tmp_path / "norm.keras")
    made = to_onnx(load_model(tmp_path / "norm.keras"), 24, 24)
    kinds = {node.op_type for node in onnx.load_from_string(made).graph.node}
    assert not kinds & {"BatchNormalization", "Mul", "Sub", "Transpose"}
    expected = network.predict(np.concatenate(PICTURES), verbose=0)
    np.testing.assert_allclose(_answers(made, ".onnx"), expected, atol=1e-5)


def test_qdq_has_the_shape_that_tensorrt_fuses(model: FloatModel):
    with Builder(model, SPEC, Calibration(PIXELS, NOISE), unseen) as builder:
        exact, made = builder.build(FORMATS["onnx-fp32"]), builder.build(FORMATS["onnx-int8"])
    graph = onnx.load_from_string(made.content).graph
    source = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            # Both operands come out of a DequantizeLinear, the bias does not.
            assert [source[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
            assert all(name in constants for name in node.input[2:])
            scale = constants[source[node.input[1]].input[1]]
            assert scale.shape == (7,) or scale.shape == (8,), "one scale for each output channel"
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert not constants[node.input[2]].any(), "symmetric"
    assert made.ranges is not None
    assert set(watch_onnx(exact.content)(PICTURES[0].reshape(1, 1, 24, 24))) == set(made.ranges.tensors)
    np.testing.assert_allclose(_answers(made.content, ".onnx"), _answers(exact.content, ".onnx"), atol=0.1)


def test_the_worst_layer_of_qdq_stays_in_float(builder: Builder):
    form, plain = FORMATS["onnx-int8"], builder.build(FORMATS["onnx-fp32"])
    exact, worst = _answers(plain.content, ".onnx"), builder.worst(form, 1)
    # What goes into it is quantized, so it is the second that suffers from what the first gives.
    assert worst == ("second",)
    whole, mended = builder.build(form), builder.build(form, worst)
    error = [np.abs(_answers(part.content, ".onnx") - exact).mean() for part in (whole, mended)]
    assert error[1] < 0.2 * error[0]
    graph = onnx.load_from_string(mended.content).graph
    made = {output: node.op_type for node in graph.node for output in node.output}
    layers = {node.name: made.get(node.input[1]) for node in graph.node if node.op_type == "Conv"}
    assert layers == {"first": "DequantizeLinear", "second": None, "third": "DequantizeLinear"}
    assert builder.build(form, builder.worst(form, 99)).content == plain.content


def test_a_layer_in_float_beside_one_in_int8_gets_the_exact_input(tmp_path: Path):
    _, keras = import_tensorflow()
    with quiet():
        inputs = keras.Input((24, 24, 1))
        x = keras.layers.ReLU()(keras.layers.Conv2D(4, 3, strides=2, name="stem")(inputs))
        both = [keras.layers.Conv2D(4, 3, name=name)(x) for name in ("left", "right")]
        x = keras.layers.Dense(7, name="last")(keras.layers.GlobalAveragePooling2D()(keras.layers.Add()(both)))
        keras.Model(inputs, x).save(tmp_path / "fork.keras")
    with Builder(load_model(tmp_path / "fork.keras"), SPEC, Calibration(PIXELS, NOISE), unseen) as fork:
        graph = onnx.load_from_string(fork.build(FORMATS["onnx-int8"], ["left"]).content).graph
    made = {output: node.op_type for node in graph.node for output in node.output}
    fed = {node.name: made[node.input[0]] for node in graph.node if node.name in ("left", "right")}
    assert fed == {"left": "Relu", "right": "DequantizeLinear"}


def test_operators_of_several_outputs_are_quantized(tmp_path: Path):
    _, keras = import_tensorflow()
    with quiet():
        inputs = keras.Input((24, 24, 1))
        x = keras.layers.Conv2D(8, 3, strides=3)(inputs)
        one, other = keras.ops.split(x, 2, axis=-1)
        x = keras.layers.Dense(7)(keras.layers.Flatten()(keras.layers.Multiply()([one, other])))
        keras.Model(inputs, x).save(tmp_path / "split.keras")
    with Builder(load_model(tmp_path / "split.keras"), SPEC, Calibration(PIXELS, NOISE), unseen) as split:
        exact, whole = split.build(FORMATS["fp32"]), split.build(FORMATS["int8"])
    assert left_in_float(whole.content) == []
    scale = np.abs(_answers(exact.content)).max()
    np.testing.assert_allclose(_answers(whole.content), _answers(exact.content), atol=0.1 * scale)


def test_dark_pictures_do_not_narrow_the_input(lame: FloatModel):
    dark = Calibration((PIXELS // 8).astype(np.uint8), REAL)
    with Builder(lame, SPEC, dark, unseen) as night:
        ranges = [night.build(FORMATS[name]).ranges for name in ("int8", "onnx-int8")]
    for found in ranges:
        assert found is not None
        assert (-1.0, 1.0) in [tuple(np.round(ends, 6)) for ends in found.tensors.values()]


def test_half_precision_and_dynamic_are_near(model: FloatModel):
    with Builder(model, SPEC, Calibration(PIXELS, NOISE), unseen) as builder:
        exact, half, dynamic = (_answers(builder.build(FORMATS[name]).content) for name in ("fp32", "fp16", "dynamic"))
    np.testing.assert_allclose(half, exact, atol=2e-3)
    np.testing.assert_allclose(dynamic, exact, atol=5e-2)


def test_what_has_no_whole_number_form_is_named_and_may_stay_in_float(tmp_path: Path):
    _, keras = import_tensorflow()
    with quiet():
        inputs = keras.Input((24, 24, 1))
        x = keras.layers.Conv2D(4, 3, strides=4)(inputs)
        x = keras.ops.sin(x)
        x = keras.layers.Dense(7)(keras.layers.Flatten()(x))
        keras.Model(inputs, x).save(tmp_path / "sine.keras")
    sine = load_model(tmp_path / "sine.keras")
    with Builder(sine, SPEC, Calibration(PIXELS, NOISE), unseen) as builder:
        with pytest.raises(DataError, match=r"no whole-number form of SIN .*--keep-float 1"):
            builder.build(FORMATS["int8"])
        made = builder.build(FORMATS["int8"], forced=True)
    assert len(made.in_float) == 1
    assert [operator.kind for operator in left_in_float(made.content)] == ["SIN"]


@pytest.mark.parametrize(
    ("tensor", "name"),
    [
        ("net_1/relu_1/Relu;net_1/bn_1/batchnorm/add_1;net_1/conv_1/convolution;net_1/bn_1/batchnorm/sub1", "conv"),
        ("model/conv2d_3/Conv2D", "conv2d_3"),
        ("net_1/relu_1/Relu;net_1/add_5_1/Add", "add_5"),
        ("net_1/inner_1/deep_1/depthwise;;net_1/pad_1/Pad1", "inner/deep"),
        ("micro_1/conv2d_13_1/convolution/merged_input:0", "conv2d_13"),
        ("Conv__34:0", "Conv"),
        ("Identity", "Identity"),
    ],
)
def test_layers_have_the_names_that_their_owner_gave_them(tensor: str, name: str):
    assert layer_name(tensor) == name


def test_no_two_layers_have_one_name(content: bytes):
    assert unique(["a", "b", "a", "a_2", "a"]) == ["a", "b", "a_2", "a_2_2", "a_3"]
    assert len(layers_of(content)) == len({operator.tensor for operator in layers_of(content).values()})


def test_nothing_of_a_builder_is_left(lame: FloatModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Builder(dataclasses.replace(lame), SPEC, Calibration(PIXELS, NOISE), unseen) as builder:
        builder.build(FORMATS["onnx-int8"])
        assert any(tmp_path.iterdir())
    assert not any(tmp_path.iterdir())
