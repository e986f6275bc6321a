"""edge-compare from the outside: two files in, one table and a verdict out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from converters.cli.compare import main
from converters.cli.convert import main as convert
from converters.quiet import import_tensorflow, quiet
from edge.emotion.manifest import manifest_path

LABELS = [f"kind{kind}" for kind in range(7)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of made-up pictures by class."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for label in LABELS:
        (folder / label).mkdir()
        for number in range(30):
            picture = cv2.GaussianBlur(rng.integers(0, 256, (24, 24), np.uint8), (0, 0), 1.5)
            cv2.imwrite(str(folder / label / f"{number}.png"), cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX))
    return folder


@pytest.fixture(scope="module")
def made(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with artifacts of the small network."""
    folder = tmp_path_factory.mktemp("made")
    described = ["--labels", ",".join(LABELS), "--mean", "127.5", "--scale", "0.00784"]
    assert convert(["--int8", "--fp16", "--onnx-fp32", str(kept / "model.keras"), "-o", str(folder), *described]) == 0
    return folder


@pytest.fixture
def run(pictures: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*argv: str | Path) -> tuple[int, str, str]:
        capfd.readouterr()
        status = main([*map(str, argv), "--data", str(pictures), "--max-drop", "20", "--min-agreement", "0.85"])
        return (status, *capfd.readouterr())

    return call


@pytest.mark.parametrize(
    ("reference", "candidate"),
    [("model.fp16.tflite", "model.onnx"), ("model.onnx", "model.fp16.tflite"), ("model.int8.tflite", "model.int8.tflite")],
)
def test_any_two_are_held_against_each_other(
    made: Path, run: Callable[..., tuple[int, str, str]], reference: str, candidate: str
):
    status, out, err = run(made / reference, made / candidate, "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["reference"]["file"]["file"] == reference
    assert found["candidate"]["file"]["file"] == candidate
    assert found["agreement"] >= 0.99
    assert found["reference"]["figures"]["latency_ms"] > 0
    assert len(found["reference"]["figures"]["confusion"]) == 7


def test_a_keras_file_is_the_reference_with_its_own_preprocessing(
    made: Path, kept: Path, run: Callable[..., tuple[int, str, str]]
):
    described = ["--labels", ",".join(LABELS), "--mean", "127.5", "--scale", "0.00784"]
    status, out, _ = run(kept / "model.keras", made / "model.fp16.tflite", *described)
    assert status == 0
    assert "reference  model.keras: float32, Keras" in out
    assert "verdict: passed" in out
    # Another range on one side alone is what the gate is for.
    wrong = ["--labels", ",".join(LABELS), "--mean", "0", "--scale", "1"]
    status, out, _ = run(kept / "model.keras", made / "model.fp16.tflite", *wrong)
    assert status == 1
    assert "verdict: failed (agreement is" in out


def test_the_same_outputs_under_other_names_are_another_network(
    made: Path, run: Callable[..., tuple[int, str, str]], tmp_path: Path
):
    model = made / "model.int8.tflite"
    turned = tmp_path / model.name
    turned.write_bytes(model.read_bytes())
    manifest = json.loads(manifest_path(model).read_text())
    manifest["labels"] = manifest["labels"][::-1]
    manifest_path(turned).write_text(json.dumps(manifest))
    status, out, _ = run(model, turned, "--json")
    # Every name now stands at another output, so hardly any answer is the same.
    assert status == 1
    assert json.loads(out)["agreement"] < 0.5


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["none.tflite", "model.int8.tflite"], "no such file"),
        (["model.int8.tflite", "model.int8.json"], "a network without weights"),
    ],
)
def test_bad_input_is_one_plain_line(made: Path, run: Callable[..., tuple[int, str, str]], argv: list[str], sentence: str):
    status, out, err = run(*(made / name for name in argv))
    assert (status, out) == (2, "")
    assert err.startswith("edge-compare: ")
    assert err.count("\n") == 1
    assert sentence in err


def test_networks_of_other_classes_are_refused(made: Path, run: Callable[..., tuple[int, str, str]], tmp_path: Path):
    model = made / "model.fp16.tflite"
    (tmp_path / model.name).write_bytes(model.read_bytes())
    text = manifest_path(model).read_text().replace('"kind0"', '"other"')
    manifest_path(tmp_path / model.name).write_text(text)
    status, _, err = run(model, tmp_path / model.name)
    assert status == 2
    assert "tells other, kind1" in err


def test_a_reference_that_tflite_cannot_take_is_measured_without_its_latency(
    made: Path, run: Callable[..., tuple[int, str, str]], tmp_path: Path
):
    _, keras = import_tensorflow()
    with quiet():
        inputs = keras.Input((24, 24, 1))
        real, imaginary = keras.ops.fft2((inputs[..., 0], inputs[..., 0]))
        x = keras.layers.Concatenate()([keras.layers.Flatten()(real), keras.layers.Flatten()(imaginary)])
        keras.Model(inputs, keras.layers.Dense(7, activation="softmax")(x)).save(tmp_path / "fourier.keras")
    described = ["--labels", ",".join(LABELS), "--mean", "127.5", "--scale", "0.00784"]
    status, out, _ = run(tmp_path / "fourier.keras", made / "model.fp16.tflite", *described)
    assert status == 1
    assert "size" in out
    assert "latency" not in out
