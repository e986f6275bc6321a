"""edge-convert by board, and smaller before it is converted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import write_stripes

from converters.cli.convert import main
from converters.formats import FORMATS
from converters.quiet import import_tensorflow, quiet
from converters.targets import TARGETS
from edge.emotion.classify import open_classifier


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stripes(tmp_path_factory.mktemp("stripes") / "stripes.npz", 24)


@pytest.fixture(scope="module")
def learned(stripes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network of this project that has learned the stripes, as .keras with its description."""
    import numpy as np

    from converters.networks import Micro, build_network

    _, keras = import_tensorflow()
    path = tmp_path_factory.mktemp("learned") / "net.keras"
    with quiet(), np.load(stripes) as data:
        keras.utils.set_random_seed(1)
        network = build_network(Micro(widths=(16, 24), blocks=(1, 1), dropout=0.0), (24, 24, 1), 7)
        network.compile(keras.optimizers.Adam(0.004), "sparse_categorical_crossentropy")
        network.fit((data["train_images"][..., None] - 127.5) / 127.5, data["train_labels"], epochs=6, verbose=0)
        network.save(path)
    path.with_suffix(".toml").write_text("[model]\nmean = [127.5]\nscale = [0.00784313725490196]\n")
    return path


@pytest.fixture
def run(stripes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*argv: str | Path) -> tuple[int, str, str]:
        capfd.readouterr()
        status = main([*map(str, argv), "--data", str(stripes), "-o", str(tmp_path)])
        return (status, *capfd.readouterr())

    return call


@pytest.mark.parametrize("name", TARGETS)
def test_a_board_gets_its_formats_and_hears_why(
    name: str, learned: Path, run: Callable[..., tuple[int, str, str]], tmp_path: Path
):
    target = TARGETS[name]
    status, out, err = run("--target", name, learned, "--json", "--max-drop", "30", "--min-agreement", "0.5")
    assert status == 0, err
    assert [json.loads(line)["format_name"] for line in out.splitlines()] == list(target.formats)
    assert target.why in err
    first = FORMATS[target.formats[0]]
    assert f"{tmp_path}/net{'.' + first.tag if first.tag else ''}{first.suffix}" in err.splitlines()[-1]
    for flag in target.formats:
        form = FORMATS[flag]
        open_classifier(tmp_path / f"net{'.' + form.tag if form.tag else ''}{form.suffix}")


def test_the_nano_never_gets_int8_without_a_word(learned: Path, run: Callable[..., tuple[int, str, str]]):
    assert "onnx-int8" not in TARGETS["jetson-nano"].formats
    assert "--precision fp16" in TARGETS["jetson-nano"].then
    status, _, err = run("--target", "jetson-nano", "--int8", learned, "--max-drop", "30", "--min-agreement", "0.5")
    assert status == 0
    assert "warning: --int8 was asked for too, but the Jetson Nano's GPU has no fast INT8" in err


def test_a_network_is_pruned_and_learns_again_before_it_is_converted(
    learned: Path, run: Callable[..., tuple[int, str, str]], tmp_path: Path
):
    argv = ["--int8", learned, "--prune", "0.25", "--finetune", "2", "--json", "--max-drop", "40", "--min-agreement", "0.3"]
    status, out, err = run(*argv)
    assert status == 0, err
    report = json.loads(out)
    assert report["pruned"]["ratio"] == 0.25
    assert report["pruned"]["epochs"] == 2
    assert report["pruned"]["parameters"] < 0.8 * report["pruned"]["parameters_before"]
    classifier = open_classifier(tmp_path / "net.pruned25.int8.tflite")
    assert classifier.manifest.recipe["pruned"] == 0.25
    # What it is held against is the network as it came.
    assert report["reference"]["accuracy"] > 0.8
    assert (tmp_path / "net.pruned25.finetune2" / "best.keras").exists()


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--int8", "--finetune", "3"], "add --prune and --data"),
        (["--int8", "--prune", "1.5"], "is not a share between 0 and 1"),
        (["--int8", "--ranges", "none.json"], "cannot be read"),
        (["--target", "pi3"], "invalid choice: 'pi3'"),
        ([], "choose a format"),
    ],
)
def test_bad_input_is_one_plain_line(
    argv: list[str], sentence: str, learned: Path, run: Callable[..., tuple[int, str, str]], tmp_path: Path
):
    status, out, err = run(*argv, learned)
    assert (status, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1
    assert not any(tmp_path.iterdir())


@pytest.fixture(scope="module")
def lame(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The learned network with one channel 300 times as large as the others, which the next layer takes back."""
    _, keras = import_tensorflow()
    path = tmp_path_factory.mktemp("lame") / "lame.keras"
    with quiet():
        network = keras.models.load_model(learned)
        norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
        convs = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
        # Within the first block: its first convolution's output is seen by its second alone.
        gamma, beta, *moving = norms[1].get_weights()
        gamma[0], beta[0] = 300 * gamma[0], 300 * beta[0]
        norms[1].set_weights([gamma, beta, *moving])
        (kernel,) = convs[2].get_weights()
        kernel[:, :, 0] /= 300
        convs[2].set_weights([kernel])
        network.save(path)
    path.with_suffix(".toml").write_text(learned.with_suffix(".toml").read_text())
    return path


def test_what_int8_ruins_is_saved_by_layers_in_float_and_both_are_told(
    lame: Path, run: Callable[..., tuple[int, str, str]], tmp_path: Path
):
    status, *_ = run("--int8", lame)
    assert status == 1
    assert not list(tmp_path.glob("*.tflite"))
    status, out, err = run("--int8", lame, "--keep-float", "2", "--json")
    assert status == 0, err
    report = json.loads(out)
    assert report["quantization"] == "int8-mixed"
    assert len(report["in_float"]) == 2
    assert report["before_in_float"]["verdict"] == "failed"
    assert report["agreement"] > report["before_in_float"]["agreement"] + 0.03
    assert open_classifier(tmp_path / "lame.int8.tflite").manifest.recipe["in_float"] == report["in_float"]
    status, out, _ = run("--int8", lame, "--keep-float", "2", "--force")
    assert "which took accuracy from" in out


def test_ranges_make_the_same_file_again(learned: Path, run: Callable[..., tuple[int, str, str]], tmp_path: Path):
    argv = ["--max-drop", "30", "--min-agreement", "0.5", "--json"]
    assert run("--int8", "--onnx-int8", learned, *argv)[0] == 0
    before = {name: (tmp_path / name).read_bytes() for name in ("net.int8.tflite", "net.qdq.onnx")}
    kept = [tmp_path / f"kept.{tag}.json" for tag in ("int8", "qdq")]
    for tag, path in zip(("int8", "qdq"), kept, strict=True):
        (tmp_path / f"net.{tag}.ranges.json").rename(path)
    ranges = [word for path in kept for word in ("--ranges", path)]
    status, out, err = run("--int8", "--onnx-int8", learned, *argv, *ranges, "--samples", "3", "--force")
    assert status == 0, err
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    for line in out.splitlines():
        report = json.loads(line)
        assert report["ranges"]["given"]
        assert report["calibrated"] is None
    for words, sentence in (
        (["--int8", "--ranges", kept[1]], "holds the ranges of onnx, which no format that is asked for uses"),
        (["--int8", "--ranges", kept[0], "--prune", "0.25"], "made for another network"),
        (["--int8", "--ranges", kept[0], "--mean", "0", "--scale", "0.0039215686"], "made for another network"),
        (["--int8", "--ranges", kept[0], "--method", "mse"], "give one of them"),
    ):
        status, _, err = run(*words, learned, "--force")
        assert (status, err.count("\n")) == (2, 1), err
        assert sentence in err
