"""Training on a small real task: learns, survives a kill, repeats itself, refuses what it cannot use."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny import RECIPE, log


def command(recipe: Path, data: Path, run: Path) -> list[str]:
    return [sys.executable, "-m", "converters.cli.train", str(recipe), "--data", str(data), "--run", str(run)]


def test_a_run_learns_and_a_killed_run_goes_on_to_the_same_end(tmp_path: Path, stripes: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    # One thread, so that sums are made in one order and two runs can be held against each other.
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    done = subprocess.run(
        command(recipe, stripes, whole), env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    assert "edge-convert --int8" in done.stdout
    card = json.loads((whole / "best.card.json").read_text())
    assert (card["network"]["name"], card["training"]["seed"], card["protocol"]["rows"]) == ("tiny", 3, 140)
    assert card["training"]["epoch"] == 1 + max(range(4), key=lambda i: float(log(whole)[i]["held_out_accuracy"]))
    assert (whole / "best.confusion.png").read_bytes().startswith(b"\x89PNG")
    lines = log(whole)
    assert [line["epoch"] for line in lines] == ["0", "1", "2", "3"]
    assert max(float(line["held_out_accuracy"]) for line in lines) > 0.8

    process = subprocess.Popen(command(recipe, stripes, killed), env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "epoch 1/4" in process.stdout.readline()
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert 1 <= len(log(killed)) < 4
    subprocess.run(command(recipe, stripes, killed), env=environment, capture_output=True, check=True, timeout=300)
    resumed = log(killed)
    assert [line["epoch"] for line in resumed] == ["0", "1", "2", "3"]
    for name in ("loss", "held_out_accuracy"):
        np.testing.assert_allclose([float(a[name]) for a in resumed], [float(b[name]) for b in lines], atol=0.02)


def test_a_run_goes_on_from_a_trained_network_of_its_own_shape_only(
    tmp_path: Path, stripes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from converters.cli.train import main

    def go(name: str, recipe: str, *start: str) -> int:
        (tmp_path / f"{name}.toml").write_text(recipe)
        return main([str(tmp_path / f"{name}.toml"), "--data", str(stripes), "--run", str(tmp_path / name), *start])

    assert go("first", RECIPE) == 0
    gentle = RECIPE.replace("epochs = 4", "epochs = 1\nlearning_rate = 1e-4")
    best = str(tmp_path / "first" / "best.keras")
    assert go("second", gentle, "--start", best) == 0
    assert float(log(tmp_path / "second")[0]["held_out_accuracy"]) > 0.7
    capfd.readouterr()
    assert go("third", gentle.replace("widths = [8, 8]", "widths = [8, 16]"), "--start", best) == 2
    assert go("fourth", gentle, "--start", str(tmp_path / "nowhere.keras")) == 2
    errors = capfd.readouterr().err.splitlines()
    assert ["best.keras: not a network of this recipe's shape" in errors[0], "no such file" in errors[1]] == [True, True]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('name = "x"\nseed = 1\n', "network"),
        (RECIPE.replace("epochs = 4", 'epochs = "four"'), "epochs"),
        (RECIPE.replace("label_smoothing", "label_smooting"), "loss.label_smooting is not a key; did you mean label_smoothing?"),
        (RECIPE.replace("seed = 3", "sede = 3"), "sede is not a key; did you mean seed?"),
        (RECIPE.replace("dropout = 0.0", "drop = 0.0"), "network.drop is not a key of this family"),
        (RECIPE.replace('"micro"', '"macro"'), "macro"),
        (RECIPE.replace("seed = 3", "seed = -3"), "seed"),
        (RECIPE.replace("dropout = 0.0", "dropout = 1.5"), "dropout"),
        (RECIPE.replace("seed = 3", 'seed = 3\nlabels = ["a", "a"]'), "stands twice"),
        (RECIPE.replace('name = "tiny"', 'name = "../tiny"'), "name"),
        ("[network", "TOML"),
    ],
)
def test_a_recipe_that_cannot_be_used_is_one_line(
    tmp_path: Path, stripes: Path, text: str, part: str, capfd: pytest.CaptureFixture[str]
) -> None:
    from converters.cli.train import main

    recipe = tmp_path / "bad.toml"
    recipe.write_text(text)
    assert main([str(recipe), "--data", str(stripes), "--run", str(tmp_path / "run")]) == 2
    error = capfd.readouterr().err
    assert part in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_pictures_of_any_size_and_colour_and_classes_of_ones_own_are_learned_and_travel_with_the_network(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two classes of one's own in a folder of coloured pictures: from there to INT8 nothing has to be said twice."""
    from converters.cli.convert import main as convert
    from converters.cli.train import main

    rng = np.random.default_rng(0)
    for name, top in (("open", 200), ("shut", 40)):
        (tmp_path / "faces" / name).mkdir(parents=True)
        for i in range(60):
            picture = rng.integers(0, 50, (int(rng.integers(40, 90)), 64, 3)).astype(np.uint8)
            picture[: len(picture) // 2] += np.uint8(top)
            cv2.imwrite(str(tmp_path / "faces" / name / f"{i}.png"), picture)
    recipe = tmp_path / "own.toml"
    recipe.write_text(
        RECIPE.replace("seed = 3", 'seed = 3\nsize = 32\nlabels = ["open", "shut"]').replace("batch = 32", "batch = 16")
    )
    run = tmp_path / "run"
    assert main([str(recipe), "--data", str(tmp_path / "faces"), "--run", str(run)]) == 0
    assert float(log(run)[-1]["held_out_accuracy"]) > 0.9
    assert convert(["--int8", str(run / "best.keras"), "--data", str(tmp_path / "faces"), "--max-drop", "5"]) == 0
    manifest = json.loads((run / "best.int8.json").read_text())
    assert manifest["labels"] == ["open", "shut"]
    assert (manifest["name"], manifest["input"]["height"]) == ("tiny", 32)
    (tmp_path / "faces" / "half").mkdir()
    capfd.readouterr()
    recipe.write_text(recipe.read_text().replace('"shut"', '"shut", "half"'))
    assert main([str(recipe), "--data", str(tmp_path / "faces"), "--run", str(tmp_path / "other")]) == 2
    assert "no picture of half to train with" in capfd.readouterr().err


@pytest.mark.parametrize(
    "labels", [("happy", "neutral", "angry", "sad", "fear", "surprise", "disgust"), ("happy", "sad", "angry")]
)
def test_labels_in_another_order_or_fewer_stay_with_their_faces(tmp_path: Path, stripes: Path, labels: tuple[str, ...]) -> None:
    """FER2013's arrays know their own order; the recipe's is what the network, its card and its manifest have."""
    from converters.cli.train import main

    recipe, run = tmp_path / "own.toml", tmp_path / "run"
    recipe.write_text(RECIPE.replace("seed = 3", f"seed = 3\nlabels = {json.dumps(labels)}"))
    assert main([str(recipe), "--data", str(stripes), "--run", str(run)]) == 0
    card = json.loads((run / "best.card.json").read_text())
    assert list(card["recall"]) == list(labels)
    assert card["accuracy"] == pytest.approx(max(float(line["held_out_accuracy"]) for line in log(run)), abs=0.01)
    assert card["accuracy"] > 0.8


def test_training_runs_on_jax_too(tmp_path: Path, stripes: Path) -> None:
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    recipe, run = tmp_path / "tiny.toml", tmp_path / "run"
    recipe.write_text(RECIPE)
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        command(recipe, stripes, run), env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert "edge-evaluate" in done.stdout
    assert float(log(run)[-1]["held_out_accuracy"]) > 0.8


def test_a_backend_that_is_not_there_is_one_line(tmp_path: Path, stripes: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE)
    environment = {**os.environ, "KERAS_BACKEND": "abacus"}
    done = subprocess.run(
        command(recipe, stripes, tmp_path / "run"), env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "KERAS_BACKEND=abacus" in done.stderr
