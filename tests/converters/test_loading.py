"""The loading ladder: every kind of file gives the same network; whatever is not a network gets its own sentence."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from converters.load import Loading, load_model
from converters.loading.files import read_config
from converters.loading.layers import refuse_lambda
from converters.loading.mend import mended
from converters.loading.model import check_output, choose_output, settle_input
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
    assert load_model(lambda_files / "nested.keras", loading=Loading(allow_lambda=True)).outputs == 7
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
    with pytest.raises(DataError, match=r"layer 'doubler' is a Twice, which Keras does not know.*--custom-objects layers\.py"):
        load_model(path)
    loaded = load_model(path, loading=Loading(custom_objects=tmp_path / "layers.py"))
    pictures = np.random.default_rng(0).uniform(-1, 1, (3, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(loaded.predictor()(pictures), np.asarray(model(pictures)), atol=1e-5)


def test_a_custom_file_that_fails_says_so(kept: Path, tmp_path: Path):
    (tmp_path / "layers.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(DataError, match=r"layers\.py: cannot be run \(ModuleNotFoundError"):
        load_model(kept / "model.keras", loading=Loading(custom_objects=tmp_path / "layers.py"))


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


@pytest.mark.parametrize(
    ("inputs", "shape", "sentence"),
    [
        ([(None, 1, 48, 48)], None, "channels-first, rebuild it channels-last"),
        ([(None, 48, 48, 4)], None, "save a network of gray or colour pictures"),
        ([(None, 48, 48, 1), (None, 2)], None, "has 2 inputs; .* save a model of that input alone"),
        ([(None, 2304)], None, "pictures .* put a Reshape in front"),
        ([(8, 48, 48, 1)], None, "8 pictures at a time; save it with a free batch size"),
        ([(None, None, None, None)], (48, 48), "how many channels .*--shape 48x48x1"),
        ([(None, 48, None, 1)], (64, 64), r"takes pictures of 48x\?x1, not 64x64; leave --shape out"),
    ],
)
def test_a_network_of_another_input_is_refused(inputs: Any, shape: Any, sentence: str):
    with pytest.raises(DataError, match=sentence):
        settle_input(Path("m.keras"), inputs, shape)


def test_a_given_shape_fills_what_the_network_leaves_open():
    assert settle_input(Path("m.keras"), [(None, None, None, 3)], (48, 64)) == (None, 48, 64, 3)
    assert settle_input(Path("m.keras"), [(None, None, None, None)], (48, 64, 1)) == (None, 48, 64, 1)
    assert settle_input(Path("m.keras"), [(1, 48, 48, 1)], None) == (1, 48, 48, 1)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [((None, 3, 3, 7), "?x3x3x7; one score for each"), ((None, 1), "?x1; one score for each of two or more")],
)
def test_what_is_no_vector_of_scores_is_refused(shape: Any, sentence: str):
    with pytest.raises(DataError, match=re.escape(sentence)):
        check_output(Path("m.keras"), shape)


def test_an_output_is_chosen_by_name_before_number():
    outputs = [("1", (None, 2)), ("0", (None, 7))]
    assert choose_output(Path("m.keras"), outputs, "0") == 1
    assert choose_output(Path("m.keras"), [("a", (None, 2)), ("b", (None, 7))], 1) == 1
    assert choose_output(Path("m.keras"), outputs[:1], None) == 0


@pytest.mark.parametrize(("key", "value"), [("dilation_rate", [1, 1]), ("groups", 2), ("time_major", True)])
def test_only_settings_that_change_nothing_are_left_out(key: str, value: Any):
    layer = {"class_name": "LSTM" if key == "time_major" else "Conv2DTranspose", "config": {"name": "it", key: value}}
    config = {"class_name": "Sequential", "keras_version": "2.15.0", "config": {"name": "net", "layers": [layer]}}
    assert mended(config)["config"]["layers"][0]["config"][key] == value


def test_a_config_of_keras_3_stays_as_it_is(kept: Path):
    config = read_config(kept / "model.keras")
    assert config is not None
    assert mended(config) is config
