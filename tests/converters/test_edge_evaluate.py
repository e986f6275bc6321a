"""edge-evaluate from the outside: figures that others have measured too, cards that are whole, or one plain line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from converters.cli.convert import main as convert
from converters.cli.evaluate import main
from converters.datasets import FER2013_LABELS
from converters.proof.cost import macs, parameters
from converters.quiet import quiet
from edge.emotion.classify import DEFAULT_MODEL
from edge.emotion.manifest import manifest_path, read_manifest

ROOT = DEFAULT_MODEL.parents[2]
CARD = ["model.card.json", "model.card.md", "model.confusion.png"]


def _run(capfd: pytest.CaptureFixture[str], *argv: str | Path) -> tuple[int, str, str]:
    capfd.readouterr()
    status = main([str(word) for word in argv])
    out, err = capfd.readouterr()
    return status, out, err


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of made-up pictures by class, 20 of each; its last class has twins in both parts."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for index, name in enumerate(FER2013_LABELS):
        (folder / name).mkdir()
        for number in range(20):
            small = rng.integers(0, 256, (4, 4), np.uint8) if index < 6 else np.full((4, 4), 20, np.uint8)
            picture = cv2.resize(small, (30, 30), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(folder / name / f"{name}-{number}.png"), picture)
    return folder


def test_the_shipped_model_has_the_figures_of_its_manifest(testdata: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    data = testdata / "data" / "fer2013-train-public.npz"
    argv = [
        DEFAULT_MODEL,
        "--data",
        data,
        "--tta",
        "--card",
        "-o",
        tmp_path,
        "--recipe",
        ROOT / "recipes" / "mobilenet-bright.toml",
    ]
    status, out, err = _run(capfd, *argv, "--json")
    assert status == 0
    stem = DEFAULT_MODEL.stem
    files = [f"{stem}.card.json", f"{stem}.card.md", f"{stem}.confusion.png"]
    assert err == "".join(f"edge-evaluate: wrote {tmp_path / name}\n" for name in files)
    card = json.loads(out)
    assert json.loads((tmp_path / files[0]).read_text()) == card
    manifest = read_manifest(manifest_path(DEFAULT_MODEL))
    assert card["accuracy"] == pytest.approx(manifest.metrics["accuracy"], abs=1e-9)
    assert card["macro_f1"] == pytest.approx(manifest.metrics["macro_f1"], abs=1e-9)
    assert card["protocol"]["split"] == "PublicTest"
    assert card["protocol"]["rows"] == sum(map(sum, card["confusion"])) == 3589
    assert card["deduplicated"]["removed"] + card["deduplicated"]["rows"] == 3589
    assert card["deduplicated"]["removed"] > 250
    # Pictures that were learned are answered better.
    assert card["deduplicated"]["accuracy"] < card["accuracy"]
    # Two views are another figure, near the first.
    assert card["flip_average"] != card["accuracy"]
    assert abs(card["flip_average"] - card["accuracy"]) < 0.03
    assert card["network"]["bytes"] == DEFAULT_MODEL.stat().st_size
    assert card["network"]["latency_ms"] > 0
    assert card["training"]["seed"] is not None
    picture = cv2.imread(str(tmp_path / files[2]))
    assert picture.shape[1] >= 1200
    status, _, err = _run(capfd, *argv)
    assert (status, "exists already; add --force" in err) == (2, True)


def test_a_keras_file_has_the_figures_that_edge_convert_gives_it(
    model: Path, pictures: Path, network: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    out_folder = tmp_path / "converted"
    gate = ["--max-drop", "100", "--min-agreement", "0"]
    convert([str(word) for word in ["--fp32", model, "--data", pictures, "-o", out_folder, *gate]])
    report = json.loads((out_folder / "model.fp32.report.json").read_text())
    status, out, _ = _run(capfd, model, "--data", pictures, "--json")
    assert status == 0
    card = json.loads(out)
    assert {name: card[name] for name in ("accuracy", "macro_f1", "recall", "confusion")} == {
        name: report["reference"][name] for name in ("accuracy", "macro_f1", "recall", "confusion")
    }
    assert card["network"]["bytes"] == report["reference"]["bytes"]
    assert card["network"]["preprocessing"] == report["preprocessing"]
    assert (card["network"]["parameters"], card["network"]["macs"]) == (parameters(network), macs(network))
    assert card["confidence"]["how"] == "kept"
    # The artifact and its original are one network here, measured by two ways.
    status, out, _ = _run(capfd, out_folder / "model.fp32.tflite", "--data", pictures, "--json")
    assert status == 0
    other = json.loads(out)
    assert (other["confusion"], other["network"]["macs"]) == (card["confusion"], card["network"]["macs"])
    assert other["protocol"] == card["protocol"]


def test_the_table_is_aligned_and_tells_the_protocol(model: Path, pictures: Path, capfd: pytest.CaptureFixture[str]):
    status, out, err = _run(capfd, model, "--data", pictures, "--tta")
    assert status == 0
    # Weights by chance are told from a network.
    assert err.startswith("edge-evaluate: warning: data and model disagree")
    assert err.count("\n") == 1
    lines = out.splitlines()
    assert lines[1].endswith("held-out 20 %, single crop, no test-time augmentation")
    names = ["Accuracy", "Accuracy, de-duplicated", "Accuracy, flip-averaged", "Macro-F1", "Calibration error", "Size"]
    names += ["Parameters", "Multiply-accumulates", "Latency", *(f"recall {label}" for label in FER2013_LABELS)]
    assert [line.split("  ")[0] for line in lines[3:19]] == names
    assert len({len(line) - len(line[25:].lstrip()) for line in lines[3:19]}) == 1
    assert any(line.startswith("confidence: temperature 1 (kept)") for line in lines)


def test_the_card_and_the_explanation_lie_beside_the_model(model: Path, pictures: Path, capfd: pytest.CaptureFixture[str]):
    # These weights answer few classes by chance; what is asked for is that the files come whole.
    status, _, _ = _run(capfd, model, "--data", pictures, "--card", "--explain", "1", "--seed", "5")
    assert status == 0
    assert sorted(path.name for path in model.parent.iterdir()) == sorted([*CARD, "model.explain.png", "model.keras"])
    page = model.with_name("model.card.md").read_text()
    assert "--explain 1 --seed 5" in page
    assert "Article 5(1)(f)" in page
    assert cv2.imread(str(model.with_name("model.explain.png"))).shape[0] > 1000
    again = [model, "--data", pictures, "--card", "--explain", "1"]
    assert _run(capfd, *again)[0] == 2
    assert model.with_name("model.card.md").read_text() == page
    assert _run(capfd, *again, "--force")[0] == 0
    assert "--seed 5" not in model.with_name("model.card.md").read_text()


def test_nothing_is_written_unasked(model: Path, pictures: Path, capfd: pytest.CaptureFixture[str]):
    assert _run(capfd, model, "--data", pictures)[0] == 0
    assert [path.name for path in model.parent.iterdir()] == ["model.keras"]


def test_the_training_part_is_measured_when_asked_for_and_said_so(model: Path, pictures: Path, capfd: pytest.CaptureFixture[str]):
    status, out, _ = _run(capfd, model, "--data", pictures, "--split", "training", "--json")
    assert status == 0
    card = json.loads(out)
    assert card["protocol"]["split"] == "other 80 %"
    assert card["protocol"]["rows"] > 100
    assert card["deduplicated"] is None
    assert card["notes"][0].startswith("the network may have learned from these very pictures")


def _folder(folder: Path, *classes: str) -> Path:
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(12):
            cv2.imwrite(str(folder / name / f"{number}.png"), np.full((9, 9), number, np.uint8))
    return folder


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """Expects exit 2 with one plain line and nothing new in the folder; returns the line."""

    def run(*argv: str | Path) -> str:
        before = sorted(tmp_path.rglob("*"))
        status, out, err = _run(capfd, *argv)
        assert (status, out) == (2, "")
        assert err.startswith("edge-evaluate: ")
        assert err.count("\n") == 1, err
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return run


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (lambda model, data, folder: [model], "the following arguments are required: --data"),
        (lambda model, data, folder: [folder / "none.keras", "--data", data], "no such file"),
        (lambda model, data, folder: [folder / "none.tflite", "--data", data], "no such file, or this user may not see it"),
        (lambda model, data, folder: [model, "--data", folder / "none.csv"], "no such file or folder"),
        (lambda model, data, folder: [model, "--data", data, "--split", "private"], "PrivateTest is never read here: whoever"),
        (lambda model, data, folder: [model, "--data", data, "--split", "test"], "'test' is neither public nor training"),
        (lambda model, data, folder: [model, "--data", data, "--explain", "0"], "'0' is not a number of samples"),
        (lambda model, data, folder: [DEFAULT_MODEL, "--data", data, "--explain", "2"], "a .tflite gives no gradients"),
        (lambda model, data, folder: [DEFAULT_MODEL, "--data", data, "--mean", "0", "--scale", "1"], "its manifest says how"),
        (lambda model, data, folder: [model, "--data", data, "--card", "-o", "/proc"], "/proc: cannot be written"),
        (lambda model, data, folder: [model, "--data", data, "--recipe", data], "cannot be read"),
        (
            lambda model, data, folder: [model, "--data", _folder(folder / "a", "happy")],
            "every picture of held-out 20 % is 'happy'",
        ),
        (lambda model, data, folder: [model, "--data", _folder(folder / "b", ".")], "nothing is labelled"),
        (
            lambda model, data, folder: [model, "--data", _folder(folder / "c", "happy", "bored")],
            "'bored' is not a class of this",
        ),
        (lambda model, data, folder: [model, "--data", data, "--labels", "a,b"], "gives 7 scores, but 2 labels are named"),
    ],
)
def test_bad_input_is_one_plain_line_and_leaves_nothing(
    model: Path, pictures: Path, tmp_path: Path, refused: Callable[..., str], argv: Any, sentence: str
):
    words = argv(model, pictures, tmp_path)
    assert sentence in refused(*words)


def test_without_layers_nothing_is_explained(kept: Path, pictures: Path, tmp_path: Path, refused: Callable[..., str]):
    assert "came without layers to take gradients of; give the .keras" in refused(
        kept / "saved", "--data", pictures, "--explain", "1", "-o", tmp_path
    )


def test_what_tflite_cannot_take_is_measured_without_size_and_latency(
    tmp_path: Path, pictures: Path, capfd: pytest.CaptureFixture[str]
):
    import keras

    with quiet():
        inputs = keras.Input((16, 16, 1))
        spectrum = keras.ops.fft2((inputs[..., 0], keras.ops.zeros_like(inputs[..., 0])))[0]
        keras.Model(inputs, keras.layers.Dense(7)(keras.layers.Flatten()(spectrum))).save(tmp_path / "model.keras")
    status, out, err = _run(capfd, tmp_path / "model.keras", "--data", pictures)
    assert status == 0
    assert "warning: size and latency are unknown: TFLite cannot take this network as float32" in err
    assert "Latency                  unknown" in out


LIGHT = """
import sys
from converters.cli.evaluate import main
try:
    status = main(sys.argv[1:])
except SystemExit as error:
    status = error.code
assert not {"tensorflow", "keras", "h5py"} & set(sys.modules), "heavy imports"
raise SystemExit(status)
"""


def test_an_artifact_is_measured_without_loading_tensorflow(pictures: Path):
    for argv, status in ((["--help"], 0), ([str(DEFAULT_MODEL), "--data", str(pictures)], 0), ([str(DEFAULT_MODEL)], 2)):
        done = subprocess.run([sys.executable, "-c", LIGHT, *argv], capture_output=True, text=True, timeout=120)
        assert done.returncode == status, done.stderr
        assert "TensorFlow Lite XNNPACK" not in done.stderr
