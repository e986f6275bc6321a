"""edge-convert from the outside: real models and faces in, artifacts that edge accepts out, or one plain line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from converters.cli.convert import main
from converters.datasets import FER2013_LABELS, Dataset
from converters.load import load_model
from converters.quiet import import_tensorflow, quiet
from edge.emotion.classify import open_classifier
from edge.emotion.manifest import manifest_path, read_manifest
from edge.emotion.preprocess import to_pixels, to_tensor

MINI = "fer2013_mini_XCEPTION.110-0.65"


def _run(capfd: pytest.CaptureFixture[str], *argv: str | Path) -> tuple[int, str, str]:
    capfd.readouterr()
    status = main([str(word) for word in argv])
    out, err = capfd.readouterr()
    return status, out, err


def test_a_real_model_keeps_its_accuracy_on_real_faces(testdata: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    source, data = testdata / "models" / f"{MINI}.hdf5", testdata / "data" / "fer2013-train-public.npz"
    status, out, err = _run(capfd, "--int8", source, "--data", data, "-o", tmp_path)
    assert status == 0
    # Nothing of TensorFlow's chatter, and clean data gives no warning.
    wrote, look = err.splitlines()
    assert wrote == f"edge-convert: wrote {tmp_path / MINI}.int8.tflite with its manifest and report"
    assert look == f"edge-convert: to look at in a browser: {tmp_path / MINI}.int8.report.html"
    assert "verdict: passed" in out
    ends = ("int8.json", "int8.ranges.json", "int8.report.html", "int8.report.json", "int8.tflite")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{MINI}.{end}" for end in ends]
    report = json.loads((tmp_path / f"{MINI}.int8.report.json").read_text())
    assert report["measured"]["count"] == 3589
    assert report["calibrated"]["count"] == 256
    assert 0.63 <= report["reference"]["accuracy"] <= 0.66
    assert 0.63 <= report["converted"]["accuracy"] <= 0.66
    assert abs(report["reference"]["accuracy"] - report["converted"]["accuracy"]) <= 0.01
    assert report["agreement"] >= 0.95
    assert set(report["converted"]["recall"]) == set(FER2013_LABELS)
    assert report["converted"]["latency_ms"] > 0
    assert [check["passed"] for check in report["gate"]] == [True] * 10
    classifier = open_classifier(tmp_path / f"{MINI}.int8.tflite")
    golden = [max(range(7), key=pair.scores.__getitem__) for pair in classifier.manifest.golden]
    assert len(set(golden)) >= 3
    assert classifier.manifest.quantization == "int8"
    # This network is too sure of itself; its temperature is fitted, carried, and what the golden scores were taken at.
    confidence = report["confidence"]
    assert confidence["how"] == "fitted"
    assert 1.2 <= confidence["temperature"] <= 1.6
    assert confidence["ece_after"] < 0.6 * confidence["ece_before"]
    assert report["output"]["temperature"] == classifier.manifest.output.temperature == confidence["temperature"]
    assert classifier.manifest.metrics["calibration_error"] == confidence["ece_after"]
    assert "which flatters it a little" in out


def test_without_data_the_artifact_agrees_with_its_original_on_real_faces(
    testdata: Path, fer2013: Dataset, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    source = Path(shutil.copy(testdata / "models" / f"{MINI}.hdf5", tmp_path))
    status, out, err = _run(capfd, "--int8", source)
    assert status == 0
    assert "warning: no --data: calibrated with made-up pictures" in err
    assert "warning: nothing tells which input the network expects; [-1, 1] is assumed" in err
    assert "verdict: unproven" in out
    report = json.loads((tmp_path / f"{MINI}.int8.report.json").read_text())
    assert report["verdict"] == "unproven"
    assert report["converted"]["accuracy"] is None
    artifact = open_classifier(tmp_path / f"{MINI}.int8.tflite")
    spec = artifact.manifest.input
    pixels = np.stack([to_pixels(image, spec) for image in fer2013.held_out.images])
    original = load_model(source).predictor()(to_tensor(pixels, spec)).argmax(axis=1)
    converted = np.array([artifact.scores(picture).argmax() for picture in pixels])
    assert (original == converted).mean() >= 0.95


@pytest.fixture(scope="module")
def faces(fer2013: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real pictures by class, 30 of each."""
    folder = tmp_path_factory.mktemp("faces")
    labels = fer2013.train.labels
    assert labels is not None
    for index, name in enumerate(FER2013_LABELS):
        (folder / name).mkdir()
        for row in np.flatnonzero(labels == index)[:30]:
            cv2.imwrite(str(folder / name / f"{row}.png"), fer2013.train.images[int(row)])
    return folder


def test_the_command_as_a_user_runs_it_with_a_folder_of_pictures(testdata: Path, faces: Path, tmp_path: Path):
    source = testdata / "models" / f"{MINI}.hdf5"
    command = [sys.executable, "-m", "converters.cli.convert", "--int8", str(source), "--data", str(faces)]
    # So few rows may lose a point by chance; what is asked here is that the command works, not how well.
    gate = ["--max-drop", "10", "--min-agreement", "0.8"]
    done = subprocess.run([*command, *gate, "--json", "-o", str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"edge-convert: wrote {tmp_path / MINI}.int8.tflite with its manifest and report\n")
    assert done.stderr.count("\n") == 2
    report = json.loads(done.stdout)
    assert report["calibrated"]["count"] + report["measured"]["count"] == 210
    assert report["measured"]["source"].endswith("held-out 20 %")
    assert report["verdict"] == "passed"
    assert (report["confidence"]["how"], report["output"]["temperature"]) == ("kept", 1.0)
    assert any("labelled rows are too few to fit the temperature" in note for note in report["notes"])
    assert json.loads((tmp_path / f"{MINI}.int8.report.json").read_text()) == report


def test_all_formats_at_once_come_from_one_network(model: Path, capfd: pytest.CaptureFixture[str]):
    status, out, _ = _run(capfd, "--int8", "--fp16", "--dynamic", "--fp32", model, "--json")
    assert status == 0
    reports = [json.loads(line) for line in out.splitlines()]
    assert [report["quantization"] for report in reports] == ["int8", "float16", "int8-dynamic", "float32"]
    assert reports[3]["largest_difference"] < 1e-4
    for report in reports:
        artifact = model.with_name(report["artifact"]["file"])
        open_classifier(artifact)
        assert read_manifest(manifest_path(artifact)).sha256 == report["artifact"]["sha256"]
    assert len({report["artifact"]["file"] for report in reports}) == 4


def test_a_seed_makes_the_same_artifact_again(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    for folder, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert _run(capfd, "--int8", model, "-o", tmp_path / folder, "--seed", seed)[0] == 0
    contents = [(tmp_path / folder / "model.int8.tflite").read_bytes() for folder in "abc"]
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


@pytest.mark.parametrize("name", ["model.h5", "saved"])
def test_other_kinds_of_files_convert_alike(kept: Path, tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]):
    assert _run(capfd, "--int8", kept / name, "-o", tmp_path)[0] == 0
    open_classifier(tmp_path / f"{name.split('.', maxsplit=1)[0]}.int8.tflite")


def test_flags_and_sidecar_reach_the_manifest(model: Path, capfd: pytest.CaptureFixture[str]):
    labels = ["a", "b", "c", "d", "e", "f", "g"]
    model.with_suffix(".toml").write_text(f'[model]\nlabels = {labels}\nname = "ours"\nversion = "1.0"\ntemperature = 1.5\n')
    flags = ["--mean", "0", "--scale", "0.00392157", "--resize", "linear", "--version", "2.0"]
    status, _, err = _run(capfd, "--int8", model, *flags)
    assert status == 0
    assert "is assumed" not in err
    manifest = read_manifest(model.with_name("model.int8.json"))
    assert (manifest.labels, manifest.name, manifest.version) == (tuple(labels), "ours", "2.0")
    assert (manifest.input.mean, manifest.input.resize, manifest.output.temperature) == ((0.0,), "linear", 1.5)


@pytest.mark.parametrize("flags", [[], ["--temperature", "0.7"]])
def test_a_temperature_of_the_users_own_wins_over_the_data(
    model: Path, faces: Path, flags: list[str], capfd: pytest.CaptureFixture[str]
):
    model.with_suffix(".toml").write_text("[model]\ntemperature = 1.5\n")
    gate = ["--max-drop", "100", "--min-agreement", "0"]
    status, out, _ = _run(capfd, "--fp32", model, "--data", faces, *flags, *gate, "--json")
    assert status == 0
    report = json.loads(out)
    expected = 0.7 if flags else 1.5
    assert (report["confidence"]["how"], report["confidence"]["temperature"]) == ("given", expected)
    manifest = read_manifest(model.with_name("model.fp32.json"))
    assert manifest.output.temperature == expected
    # Both sides of the comparison are at this temperature, so the float format still differs by nothing.
    assert report["largest_difference"] < 1e-4


def test_without_labels_the_temperature_stays(model: Path, capfd: pytest.CaptureFixture[str]):
    status, out, _ = _run(capfd, "--fp32", model, "--json")
    assert status == 0
    assert json.loads(out)["confidence"] is None
    assert read_manifest(model.with_name("model.fp32.json")).output.temperature == 1.0


# No artifact is ever so much better: this gate cannot be passed.
IMPOSSIBLE = ["--max-drop", "-100"]


def test_a_failed_gate_leaves_nothing_that_could_be_deployed(
    model: Path, faces: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    status, out, err = _run(capfd, "--int8", "--fp32", model, "--data", faces, *IMPOSSIBLE)
    assert status == 1
    assert "verdict: failed (accuracy drop is" in out
    assert "the gate has failed (the verdict says where); nothing was written but its report" in err
    found = sorted(path.name for path in tmp_path.iterdir())
    reports = ["model.failed.report.html", "model.fp32.failed.report.json", "model.int8.failed.report.json"]
    assert found == [*reports, "model.keras"]


def test_a_failed_gate_does_not_destroy_what_was_good(
    model: Path, faces: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    assert _run(capfd, "--int8", model)[0] == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    status, _, err = _run(capfd, "--int8", model, "--data", faces, "--force", *IMPOSSIBLE)
    assert status == 1
    assert "what was there before is unchanged" in err
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    # The next good conversion clears the failed report away.
    assert _run(capfd, "--int8", model, "--force", "--seed", "3")[0] == 0
    assert {path.name for path in tmp_path.iterdir()} == set(before)
    assert (tmp_path / "model.int8.tflite").read_bytes() != before["model.int8.tflite"]


def test_outputs_that_exist_are_kept(model: Path, refused: Callable[..., str]):
    model.with_name("model.int8.json").write_text("mine")
    assert "exists already; add --force" in refused("--int8", model)
    assert model.with_name("model.int8.json").read_text() == "mine"


def _text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def _empty(path: Path) -> Path:
    path.mkdir()
    return path


PIXELS = " ".join(["7"] * 2304)


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (lambda model, folder: ["--int8", folder / "none.h5"], "no such file"),
        (lambda model, folder: ["--int8", _text(folder / "text.h5", "hello")], "not a Keras file"),
        (lambda model, folder: [model], "choose a format: --int8"),
        (
            lambda model, folder: ["--int9", model],
            "unrecognized arguments: --int9 (did you mean --int8?); see edge-convert --help",
        ),
        (lambda model, folder: ["--int8"], "the following arguments are required: model"),
        (lambda model, folder: ["--int8", model, "--mean", "1"], "mean and scale go together"),
        (lambda model, folder: ["--int8", model, "--mean", "x"], "'x' is not a number"),
        (lambda model, folder: ["--int8", model, "--temperature", "0"], "'0' is not a number above 0"),
        (lambda model, folder: ["--int8", model, "--samples", "0"], "'0' is not a whole number from 1 on"),
        (lambda model, folder: ["--int8", model, "--shape", "big"], "'big' is not a shape"),
        (lambda model, folder: ["--int8", model, "--min-agreement", "95"], "'95' is not a share"),
        (lambda model, folder: ["--int8", model, "--labels", "a,b"], "gives 7 scores, but 2 labels"),
        (lambda model, folder: ["--int8", model, "--labels", "a,b,c,d,e,f,g,h"], "gives 7 scores, but 8 labels"),
        (lambda model, folder: ["--int8", model, "--labels", "a,b,c,d,e,f,f"], "a label stands twice"),
        (lambda model, folder: ["--int8", model, "-o", "/proc"], "/proc: cannot be written"),
        (lambda model, folder: ["--int8", model, "-o", model], "cannot be written"),
        (lambda model, folder: ["--int8", model, "--data", folder / "none.csv"], "no such file or folder"),
        (lambda model, folder: ["--int8", model, "--data", _empty(folder / "faces")], "no pictures here"),
        (lambda model, folder: ["--int8", model, "--data", _text(folder / "x.txt", "")], "not a data set"),
        (
            lambda model, folder: [
                "--int8",
                model,
                "--data",
                _text(folder / "f.csv", f"emotion,pixels,Usage\n3,{PIXELS} 1,Training\n"),
            ],
            "row 2: 2305 pixels, expected 2304",
        ),
    ],
)
def test_bad_input_is_one_plain_line_and_leaves_nothing(
    model: Path, tmp_path: Path, refused: Callable[..., str], argv: Any, sentence: str
):
    words = argv(model, tmp_path)
    assert sentence in refused(*words)


def test_a_network_that_tflite_cannot_take_is_refused(tmp_path: Path, refused: Callable[..., str]):
    _, keras = import_tensorflow()
    with quiet():
        inputs = keras.Input((16, 16, 1))
        spectrum = keras.ops.fft2((inputs[..., 0], keras.ops.zeros_like(inputs[..., 0])))[0]
        keras.Model(inputs, keras.layers.Dense(7)(keras.layers.Flatten()(spectrum))).save(tmp_path / "model.keras")
    assert "TFLite cannot take this network as" in refused("--int8", tmp_path / "model.keras")


LAZY = """
import sys
from converters.cli.convert import main
try:
    status = main(sys.argv[1:])
except SystemExit as error:
    status = error.code
assert not {"tensorflow", "keras", "h5py", "cv2"} & set(sys.modules), "heavy imports"
raise SystemExit(status)
"""


@pytest.mark.parametrize(("argv", "status"), [(["--help"], 0), (["model.h5"], 2), (["--int8", "--frobnicate", "model.h5"], 2)])
def test_help_and_mistakes_are_answered_without_loading_tensorflow(argv: list[str], status: int):
    done = subprocess.run([sys.executable, "-c", LAZY, *argv], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr


@pytest.fixture(scope="module")
def colour(fer2013: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real faces in two lights, as pictures of skin; and a network that tells the lights apart by red against blue.

    Holds `model.keras` (rgb in [0, 1]), `faces` and `swapped`, the same faces with red and blue swapped.
    """
    folder = tmp_path_factory.mktemp("colour")
    tints = {"warm": (0.55, 0.75, 1.1), "cool": (0.8, 0.9, 1.0)}
    images, labels = [], []
    for index, (name, tint) in enumerate(tints.items()):
        for kind in ("faces", "swapped"):
            (folder / kind / name).mkdir(parents=True)
        for row in range(index, 160, 2):
            picture = np.clip(fer2013.train.images[row][..., None] * np.array(tint), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / "faces" / name / f"{row}.png"), picture)
            cv2.imwrite(str(folder / "swapped" / name / f"{row}.png"), picture[..., ::-1])
            images.append(picture[..., ::-1])
            labels.append(index)
    _, keras = import_tensorflow()
    with quiet():
        keras.utils.set_random_seed(1)
        layers = keras.layers
        inputs = keras.Input((24, 24, 3))
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu")(inputs))
        network = keras.Model(inputs, layers.Dense(2, activation="softmax")(x))
        network.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
        small = np.stack([cv2.resize(image, (24, 24), interpolation=cv2.INTER_AREA) for image in images])
        network.fit(small.astype(np.float32) / 255, np.array(labels), epochs=60, batch_size=40, verbose=0)
        network.save(folder / "model.keras")
    return folder


@pytest.mark.parametrize(
    ("flags", "pictures", "warning"),
    [
        ([], "faces", None),
        (["--color", "rgb"], "faces", None),
        (["--color", "bgr"], "faces", "data and model disagree: read as rgb"),
        (["--color", "rgb"], "swapped", "red and blue (RGB and BGR) are swapped in the files"),
        ([], "swapped", "red and blue (RGB and BGR) are swapped in the files"),
    ],
)
def test_swapped_colours_are_told(
    colour: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], flags: list[str], pictures: str, warning: str | None
):
    argv = ["--int8", colour / "model.keras", "--labels", "warm,cool", "--data", colour / pictures, "-o", tmp_path]
    gate = ["--max-drop", "100", "--min-agreement", "0"]
    _, _, err = _run(capfd, *argv, *flags, *gate)
    told = [line for line in err.splitlines() if "warning" in line]
    assert (warning is None and told == []) or any(warning is not None and warning in line for line in told), err
