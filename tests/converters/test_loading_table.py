"""The table of docs/loading.md: which files of Keras 2 and 3 load, by which flags, and which sentence refuses the others."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras_zoo
import numpy as np
import pytest

from converters.cli.convert import main
from converters.cli.flags import add_model_flags, described, loading
from converters.load import FloatModel, load_model
from converters.quiet import import_tensorflow, quiet
from edge.errors import DataError

NAMES = [
    "sequential",
    "functional",
    "nested",
    "nested sequential",
    "sequential in sequential",
    "by its first batch",
    "depthwise",
    "separable",
    "transposed",
    "attention",
    "squeeze-excite",
    "dropouts",
    "recurrent",
    "multi-head",
    "arithmetic",
    "lambda",
    "custom",
    "custom function",
    "heads",
    "named heads",
    "any size",
    "colour",
    "scaled inside",
]
FLAGS = {
    "lambda": "--allow-lambda",
    "custom": "--custom-objects custom.py",
    "custom function": "--custom-objects custom.py",
    "custom of Keras 2": "--custom-objects custom2.py",
    "custom model": f"--custom-objects model.py --shape {keras_zoo.SIDE}x{keras_zoo.SIDE}x1",
    "heads": "--output 1",
    "named heads": "--output emotion",
}
# What tf-keras has to load costs a process, so one form of each stands for both.
# (the last one holds arithmetic on tensors, too)
BY_TF_KERAS = ["keras2/multi-head.h5", "keras2/custom of Keras 2.keras"]
LOST = {"keras3/arithmetic.h5"}  # Keras 3 cannot read it again; see REFUSED
WHOLE = [
    f"{maker}/{name}{suffix}"
    for maker in ("keras2", "keras3")
    for name in NAMES
    for suffix in (".h5", ".keras")
    if not (maker == "keras2" and name in {"multi-head", "arithmetic"}) and f"{maker}/{name}{suffix}" not in LOST
]
WEIGHTS = [
    ("keras3/functional.weights.h5", "keras3/functional.json"),
    ("keras3/nested.weights.h5", "keras3/nested.h5"),
    ("keras3/multi-head.weights.h5", "keras3/multi-head.keras"),
    ("keras3/depthwise.weights.h5", "build.py"),
    ("keras3/recipe.weights.h5", "recipe.toml"),
    ("keras2/nested.weights.h5", "keras2/nested.json"),
    ("keras2/nested old.h5", "keras2/nested.json"),
    ("keras2/functional old.h5", "keras2/functional.keras"),
    ("keras2/separable old.h5", "keras2/separable.h5"),
    ("keras2/depthwise old.h5", "build.py"),
    ("keras2/misnamed.weights.h5", "keras2/depthwise.json"),
    # By tf-keras.
    ("keras2/multi-head old.h5", "keras2/multi-head.json"),
]
REFUSED = [
    ("keras2/lambda.h5", "", r"layer 'sneaky' is a Lambda.*add --allow-lambda"),
    ("keras2/lambda.keras", "", r"layer 'sneaky' is a Lambda.*add --allow-lambda"),
    ("keras3/lambda.keras", "", r"layer 'sneaky' is a Lambda.*add --allow-lambda"),
    ("keras2/custom.h5", "", r"layer 'doubler' is a Twice, which Keras does not know.*--custom-objects layers\.py"),
    ("keras3/custom.keras", "", r"layer 'doubler' is a Twice, which Keras does not know.*--custom-objects layers\.py"),
    ("keras2/custom function.h5", "", "parabola.*which Keras does not know.*--custom-objects"),
    ("keras3/custom function.keras", "", "parabola.*which Keras does not know.*--custom-objects"),
    ("keras3/custom.keras", "--custom-objects none.py", r"none\.py: no such Python file"),
    ("keras3/arithmetic.h5", "", "is a Absolute, .*lost in an .h5: save the model as .keras"),
    ("keras3/custom model.keras", "--custom-objects model.py", "--shape 48x48x1"),
    ("keras3/custom model.keras", "--custom-objects model.py --shape 12x12", "with the channels: --shape 48x48x1"),
    ("keras2/heads.h5", "", r"--output NAME or number: 0 age \?x1, 1 emotion \?x7"),
    ("keras3/heads.keras", "", r"--output NAME or number: 0 age \?x1, 1 emotion \?x7"),
    ("keras3/heads.keras", "--output mood", r"no output mood; .*0 age \?x1, 1 emotion \?x7"),
    ("keras3/heads.keras", "--output 2", "no output 2; --output takes"),
    ("keras3/heads.keras", "--output age", r"gives a tensor of shape \?x1; one score for each of two or more classes"),
    ("keras3/functional.keras", "--output probabilities", "no output probabilities"),
    ("keras3/functional.keras", "--shape 48x48", "takes pictures of 12x12x1, not 48x48; leave --shape out"),
    ("keras3/any size.keras", "--shape 48x48x3", r"takes pictures of \?x\?x1, not 48x48x3"),
    ("keras3/functional.keras", "--architecture keras3/functional.json", "holds its network itself; leave --architecture out"),
    ("keras3/functional.json", "", "a network without weights; give the file of weights"),
    ("keras3/functional.npz", "", "without Keras' config"),
    ("keras2/functional old.h5", "", "weights without the network; give the network with --architecture"),
    ("keras3/functional.weights.h5", "", "weights without the network; give the network with --architecture"),
    ("keras3/functional.weights.h5", "--architecture none.json", r"none\.json: no such file"),
    ("keras3/functional.weights.h5", "--architecture custom.py", r"custom\.py: has no function build\(\)"),
    ("keras3/functional.weights.h5", "--architecture keras3/functional.npz", "describes no network"),
    ("keras3/functional.weights.h5", "--architecture keras3/nested.weights.h5", "holds weights too"),
    ("keras3/functional.weights.h5", "--architecture keras3/depthwise.json", "holds .* numbers, the network .*--architecture"),
    # Keras would take it: all that the shorter network looks for is there.
    ("keras3/functional.weights.h5", "--architecture keras3/dropouts.keras", "holds .* numbers, the network .*--architecture"),
    ("keras3/depthwise.weights.h5", "--architecture keras3/functional.json", "holds .* numbers, the network .*--architecture"),
    ("keras3/functional.weights.h5", "--architecture build.py", r"weights do not fit the network of build\.py"),
    ("keras2/functional old.h5", "--architecture build.py", r"weights do not fit the network of build\.py"),
    ("keras3/functional.weights.h5", "--architecture recipe.toml", r"weights do not fit the network of recipe\.toml"),
    ("keras3/nested.weights.h5", "--architecture broken.json", "description in it is damaged"),
    ("keras3/empty.keras", "", "holds no weights: it was saved before it saw a picture"),
]


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders keras2 and keras3 with every network in every form, and files that flags name beside them."""
    place = tmp_path_factory.mktemp("zoo")
    (place / "custom.py").write_text(keras_zoo.CUSTOM)
    (place / "custom2.py").write_text(keras_zoo.CUSTOM_OF_KERAS_2)
    (place / "model.py").write_text(keras_zoo.CUSTOM_MODEL)
    (place / "build.py").write_text(keras_zoo.BUILD)
    (place / "broken.json").write_text("{")
    (place / "recipe.toml").write_text(
        'name = "small"\nseed = 1\nsize = 16\n[network]\nfamily = "micro"\n[schedule]\nepochs = 1\n'
    )
    (place / "keras2").mkdir()
    (place / "keras3").mkdir()
    if importlib.util.find_spec("tf_keras") is not None:
        environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
        command = [sys.executable, "-W", "ignore", keras_zoo.__file__, str(place / "keras2")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        # Old programs gave the old form any name.
        shutil.copy(place / "keras2" / "depthwise old.h5", place / "keras2" / "misnamed.weights.h5")
        shutil.copy(place / "keras2" / "depthwise.npz", place / "keras2" / "misnamed.npz")
    _, keras = import_tensorflow()
    with quiet():
        keras_zoo.save_all(keras, place / "keras3", legacy=False)
        keras.Sequential([keras.layers.Conv2D(4, 3), keras.layers.Flatten()]).save(place / "keras3" / "empty.keras")
        _save_recipe(place)
    return place


def _save_recipe(place: Path) -> None:
    from converters.networks import build_network
    from converters.recipe import read_recipe

    recipe = read_recipe(place / "recipe.toml")
    model = build_network(recipe.network, (recipe.size, recipe.size, 1), len(recipe.labels))
    chance = np.random.default_rng(1)
    model.set_weights([w + chance.uniform(0, 0.01, w.shape).astype(w.dtype) for w in model.get_weights()])
    pictures = chance.uniform(-1, 1, (4, recipe.size, recipe.size, 1)).astype(np.float32)
    np.savez(place / "keras3" / "recipe.npz", pictures=pictures, scores=np.asarray(model(pictures)))
    model.save_weights(place / "keras3" / "recipe.weights.h5")


def _need(zoo: Path, file: str) -> Path:
    if file.startswith("keras2") and importlib.util.find_spec("tf_keras") is None:
        pytest.skip("tf-keras is not installed: nothing here writes files of Keras 2")
    return zoo / file


def _name(path: Path) -> str:
    return path.name.removesuffix(".keras").removesuffix(".h5").removesuffix(".weights").removesuffix(" old")


def _load(path: Path, flags: str, monkeypatch: pytest.MonkeyPatch, zoo: Path) -> FloatModel:
    """As a command does it, from the words that a person types."""
    monkeypatch.chdir(zoo)
    parser = argparse.ArgumentParser()
    add_model_flags(parser)
    arguments = parser.parse_args(flags.split(" ") if flags else [])
    return load_model(path, described(arguments), loading(arguments))


def _check_same(model: FloatModel, path: Path) -> None:
    saved = np.load(path.with_name(f"{_name(path)}.npz"))
    pictures, scores = saved["pictures"], saved["scores"]
    assert np.ptp(scores, axis=0).max() > 1e-3, "the pictures look alike to this network; their scores would prove nothing"
    assert (model.outputs, model.channels) == (scores.shape[1], pictures.shape[3])
    assert {model.height, model.width} <= {None, pictures.shape[1]}
    assert model.batch is None
    np.testing.assert_allclose(model.predictor()(pictures), scores, atol=1e-5)


@pytest.mark.parametrize("file", [*WHOLE, "keras3/custom model.keras"])
def test_a_file_gives_what_its_own_keras_gave(zoo: Path, monkeypatch: pytest.MonkeyPatch, file: str):
    path = _need(zoo, file)
    model = _load(path, FLAGS.get(_name(path), ""), monkeypatch, zoo)
    _check_same(model, path)
    # Layers are what pruning and explaining need; tf-keras hands back none.
    assert model.loader.startswith("Keras 3")


@pytest.mark.parametrize("file", [*BY_TF_KERAS, "keras2/saved"])
def test_what_only_keras_2_understands_comes_through_tf_keras_or_a_saved_model(
    zoo: Path, monkeypatch: pytest.MonkeyPatch, file: str
):
    path = _need(zoo, file)
    model = _load(path, FLAGS.get(_name(path), ""), monkeypatch, zoo)
    _check_same(model, path.with_name("depthwise.keras") if path.is_dir() else path)
    assert model.loader.startswith("TensorFlow" if path.is_dir() else "tf-keras")


@pytest.mark.parametrize(("file", "architecture"), WEIGHTS)
def test_weights_go_into_the_network_they_were_saved_from(
    zoo: Path, monkeypatch: pytest.MonkeyPatch, file: str, architecture: str
):
    path = _need(zoo, file)
    _check_same(_load(path, f"--architecture {_need(zoo, architecture)}", monkeypatch, zoo), path)


@pytest.mark.parametrize(("file", "flags", "sentence"), REFUSED)
def test_what_is_refused_is_told_in_one_line_with_what_to_do(
    zoo: Path, monkeypatch: pytest.MonkeyPatch, file: str, flags: str, sentence: str
):
    path = _need(zoo, file)
    with pytest.raises(DataError, match=sentence) as caught:
        _load(path, flags, monkeypatch, zoo)
    assert "\n" not in str(caught.value)


def test_the_flags_reach_the_loader_from_the_command_line(
    zoo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(zoo)
    source = str(tmp_path / "heads.h5")
    shutil.copy(zoo / "keras3" / "any size, heads.weights.h5", source)
    words = ["--fp32", source, "--architecture", "keras3/any size, heads.json", "-o", str(tmp_path / "out")]
    assert main(words) == 2
    assert "say which holds the scores" in capfd.readouterr().err
    assert main([*words, "--output", "emotion"]) == 2
    assert "say which it was trained with: --shape 48x48" in capfd.readouterr().err
    assert main([*words, "--output", "emotion", "--shape", "12x12", "--mean", "127.5", "--scale", "0.0078"]) == 0
    manifest = json.loads((tmp_path / "out" / "heads.fp32.json").read_text())
    assert [manifest["input"][side] for side in ("height", "width", "channels")] == [12, 12, 1]


def test_without_tf_keras_the_sentence_says_how_to_get_it(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = _need(zoo, "keras2/multi-head.h5")
    # What a machine without the package answers to `import tf_keras`.
    (tmp_path / "tf_keras.py").write_text("raise ModuleNotFoundError(\"No module named 'tf_keras'\")\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    with pytest.raises(DataError, match=r"MultiHeadAttention.*pip install --no-deps tf-keras"):
        load_model(path)
