"""The loading ladder: every kind of file gives the same network; whatever is not a network gets its own sentence."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from converters.load import load_model
from converters.loading.layers import refuse_lambda
from converters.loading.model import check_shapes
from converters.quiet import import_tensorflow, quiet
from edge.errors import DataError


def _save(model: Any, path: Path) -> Path:
    with quiet():
        model.save(path)
    return path


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "saved"])
def test_every_kind_of_file_gives_the_same_network(kept: Path, network: Any, name: str):
    model = load_model(kept / name)
    assert (model.batch, model.height, model.width, model.channels, model.outputs) == (None, 24, 24, 1, 7)
    pictures = np.random.default_rng(0).uniform(-1, 1, (150, 24, 24, 1)).astype(np.float32)
    with quiet():
        expected = network.predict(pictures, verbose=0)
    np.testing.assert_allclose(model.predictor()(pictures), expected, atol=1e-5)


def test_a_real_file_of_keras_2_loads(testdata: Path):
    model = load_model(testdata / "models" / "fer2013_mini_XCEPTION.110-0.65.hdf5")
    assert (model.height, model.width, model.channels, model.outputs) == (64, 64, 1, 7)


def _text(path: Path) -> Path:
    path.write_text("this is not a model\n")
    return path


def _cut(source: Path, path: Path) -> Path:
    content = source.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    return path


def _hdf5_of_something_else(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["temperature"] = [1.0, 2.0]
    return path


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda kept, folder: folder / "none.h5", "no such file"),
        (lambda kept, folder: _text(folder / "notes.h5"), "not a Keras file in spite of its name"),
        (lambda kept, folder: _text(folder / "notes.keras"), "not a Keras file in spite of its name"),
        (lambda kept, folder: _text(folder / "notes.txt"), "not a Keras file"),
        (lambda kept, folder: _cut(kept / "model.h5", folder / "cut.h5"), "damaged or cut short"),
        (lambda kept, folder: _cut(kept / "model.keras", folder / "cut.keras"), "damaged or cut short"),
        (lambda kept, folder: kept / "only.weights.h5", "holds weights without the network"),
        (lambda kept, folder: _hdf5_of_something_else(folder / "data.h5"), "without a Keras model"),
        (lambda kept, folder: Path(shutil.copy(kept / "model.h5", folder / "m.keras")), "rename it to m.h5"),
        (lambda kept, folder: folder, "not a SavedModel"),
    ],
)
def test_what_is_no_model_gets_its_own_sentence(kept: Path, tmp_path: Path, make: Any, sentence: str):
    with pytest.raises(DataError, match=sentence) as caught:
        load_model(make(kept, tmp_path))
    assert "\n" not in str(caught.value)


def test_a_cut_saved_model_is_refused(kept: Path, tmp_path: Path):
    folder = Path(shutil.copytree(kept / "saved", tmp_path / "saved"))
    _cut(kept / "saved" / "saved_model.pb", folder / "saved_model.pb")
    with pytest.raises(DataError, match="damaged or cut short"):
        load_model(folder)


@pytest.fixture(scope="module")
def lambda_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models whose Lambda leaves a file behind when its code runs."""
    folder = tmp_path_factory.mktemp("lambda")
    _, keras = import_tensorflow()
    layers, marker = keras.layers, str(folder / "ran")
    # The code of a Lambda knows no names of this module, so it brings what it needs as a default.
    act = eval(f"lambda x: (open({marker!r}, 'w').close(), x)[1]")
    with quiet():
        inner = keras.Sequential([keras.Input((8, 8, 1)), layers.Lambda(act, name="sneaky"), layers.Flatten()])
        plain = keras.Sequential([keras.Input((8, 8, 1)), layers.Lambda(act, name="sneaky"), layers.Flatten(), layers.Dense(7)])
        nested = keras.Sequential([keras.Input((8, 8, 1)), inner, layers.Dense(7)])
        rows = layers.TimeDistributed(layers.Lambda(act, output_shape=(8, 1), name="sneaky"))
        spread = keras.Sequential([keras.Input((8, 8, 1)), rows, layers.Flatten(), layers.Dense(7)])
    for name, model in (("plain", plain), ("nested", nested), ("spread", spread)):
        _save(model, folder / f"{name}.keras")
        _save(model, folder / f"{name}.h5")
    (folder / "ran").unlink()
    return folder


@pytest.mark.parametrize("name", ["plain.keras", "plain.h5", "nested.keras", "nested.h5", "spread.keras", "spread.h5"])
def test_a_lambda_is_refused_wherever_it_hides_and_its_code_never_runs(lambda_files: Path, name: str):
    with pytest.raises(DataError, match=r"layer 'sneaky' is a Lambda.*--allow-lambda"):
        load_model(lambda_files / name)
    assert not (lambda_files / "ran").exists()


def test_a_lambda_runs_when_the_user_allows_it(lambda_files: Path):
    assert load_model(lambda_files / "nested.keras", allow_lambda=True).outputs == 7
    assert (lambda_files / "ran").exists()
    (lambda_files / "ran").unlink()


def test_a_lambda_inside_an_argument_is_found():
    config = {
        "class_name": "Sequential",
        "config": {"layers": [{"class_name": "Dense", "config": {"activation": {"class_name": "__lambda__"}}}]},
    }
    with pytest.raises(DataError, match="Lambda"):
        refuse_lambda(Path("m.keras"), config)


CUSTOM = """
import keras

class Twice(keras.layers.Layer):
    def call(self, x):
        return 2 * x
"""


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_an_unknown_layer_is_named_and_the_users_own_file_helps(tmp_path: Path, suffix: str):
    _, keras = import_tensorflow()
    (tmp_path / "layers.py").write_text(CUSTOM)
    space: dict[str, Any] = {"__name__": "their_module"}
    exec(CUSTOM, space)
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), space["Twice"](name="doubler"), keras.layers.Flatten(), keras.layers.Dense(7)]
    )
    path = _save(model, tmp_path / f"model{suffix}")
    with pytest.raises(DataError, match=r"layer 'doubler' is a Twice, which Keras does not know.*--custom layers\.py"):
        load_model(path)
    loaded = load_model(path, custom=tmp_path / "layers.py")
    pictures = np.random.default_rng(0).uniform(-1, 1, (3, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(loaded.predictor()(pictures), np.asarray(model(pictures)), atol=1e-5)


def test_a_custom_file_that_fails_says_so(kept: Path, tmp_path: Path):
    (tmp_path / "layers.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(DataError, match=r"layers\.py: cannot be run \(ModuleNotFoundError"):
        load_model(kept / "model.keras", custom=tmp_path / "layers.py")


@pytest.mark.parametrize(("kind", "op"), [("file", "ReadFile"), ("python", "EagerPyFunc"), ("save", "SaveV2")])
def test_a_saved_model_that_reaches_out_is_refused(tmp_path: Path, kind: str, op: str):
    tf, _ = import_tensorflow()

    def reach(x: Any) -> Any:
        if kind == "file":
            return x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)
        if kind == "python":
            return tf.ensure_shape(tf.py_function(lambda y: y, [x], tf.float32), x.shape)
        tf.raw_ops.SaveV2(prefix=str(tmp_path / "stolen"), tensor_names=["x"], shape_and_slices=[""], tensors=[x])
        return x

    module = tf.Module()
    function = tf.function(lambda x: tf.reshape(reach(x), (1, 64)), input_signature=[tf.TensorSpec((1, 8, 8, 1), tf.float32)])
    with quiet():
        tf.saved_model.save(module, str(tmp_path / "saved"), signatures=function.get_concrete_function())
    with pytest.raises(DataError, match=f"is a {op}, which reaches out"):
        load_model(tmp_path / "saved")


def test_what_keras_3_cannot_build_goes_to_tf_keras_or_says_how_to_get_it(kept: Path, tmp_path: Path, network: Any):
    # Keras 2 wrote `groups` into depthwise layers; Keras 3 does not take it.
    path = Path(shutil.copy(kept / "model.h5", tmp_path / "old.h5"))
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = _as_keras2(json.loads(file.attrs["model_config"]))
    if importlib.util.find_spec("tf_keras") is None:
        with pytest.raises(DataError, match=r"layer 'depthwise_conv2d.*pip install --no-deps tf-keras"):
            load_model(path)
        return
    model = load_model(path)
    assert model.loader.startswith("tf-keras")
    pictures = np.random.default_rng(0).uniform(-1, 1, (5, 24, 24, 1)).astype(np.float32)
    with quiet():
        expected = network.predict(pictures, verbose=0)
    np.testing.assert_allclose(model.predictor()(pictures), expected, atol=1e-5)


def _as_keras2(config: dict[str, Any]) -> str:
    layers = [layer["config"] | {"kind": layer["class_name"]} for layer in config["config"]["layers"]]
    found = []
    for before, layer in zip([None, *layers], layers, strict=False):
        kind = layer.pop("kind")
        entry = {
            key: value
            for key, value in layer.items()
            if not isinstance(value, dict) and key not in {"quantization_config", "optional"}
        }
        if kind == "InputLayer":
            entry["batch_input_shape"] = entry.pop("batch_shape")
            entry.pop("ragged", None)
        if kind == "DepthwiseConv2D":
            entry["groups"] = 1
        inbound = [[[before["name"], 0, 0, {}]]] if before else []
        found.append({"class_name": kind, "name": entry["name"], "config": entry, "inbound_nodes": inbound})
    ends = {"input_layers": [[layers[0]["name"], 0, 0]], "output_layers": [[layers[-1]["name"], 0, 0]]}
    return json.dumps({"class_name": "Functional", "config": {"name": "old", "layers": found, **ends}})


@pytest.mark.parametrize(
    ("inputs", "outputs", "sentence"),
    [
        ([(None, 1, 48, 48)], [(None, 7)], "channels-first"),
        ([(None, 48, 48, 1), (None, 2)], [(None, 7)], "2 inputs and 1 outputs"),
        ([(None, 2304)], [(None, 7)], "pictures"),
        ([(8, 48, 48, 1)], [(8, 7)], "8 pictures at a time"),
        ([(None, 48, 48, 1)], [(None, 3, 3, 7)], "one score for each"),
        ([(None, 48, 48, 1)], [(None, 1)], "two or more classes"),
    ],
)
def test_a_network_of_another_shape_is_refused(inputs: Any, outputs: Any, sentence: str):
    with pytest.raises(DataError, match=sentence):
        check_shapes(Path("m.keras"), inputs, outputs)
