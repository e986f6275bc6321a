"""A run that goes wrong says so in one line and keeps the last good checkpoint."""

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import RECIPE, log

from converters.cli.train import main


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_last_good_checkpoint(
    tmp_path: Path, stripes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "wild.toml"
    # Weights shrink by rate * decay each step. The rate climbs through all four epochs: where that product passes two, they
    # flip and grow instead, until they overflow; so the first epoch is sane and a later one is not.
    recipe.write_text(RECIPE.replace("batch = 32", "batch = 32\nlearning_rate = 0.05\nwarmup = 0.999\nweight_decay = 160.0"))
    run = tmp_path / "run"
    assert main([str(recipe), "--data", str(stripes), "--run", str(run)]) == 2
    error = capfd.readouterr().err
    assert "the loss is not a number" in error
    assert error.count("\n") == 1
    epochs = len(log(run))
    assert 1 <= epochs < 4
    assert f"epoch {epochs + 1}:" in error
    assert f"last.weights.h5 holds the last good checkpoint, of epoch {epochs}" in error
    assert (run / "last.weights.h5").exists()


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path: Path, stripes: Path) -> None:
    recipe, run = tmp_path / "tiny.toml", tmp_path / "run"
    recipe.write_text(RECIPE.replace("epochs = 4", "epochs = 6"))
    command = [sys.executable, "-m", "converters.cli.train", str(recipe), "--data", str(stripes), "--run", str(run)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("epoch 1/6")
    process.kill()
    process.wait()
    process.stdout.close()
    checkpoint = run / "last.weights.h5"
    before, lines = hashlib.sha256(checkpoint.read_bytes()).digest(), len(log(run))
    limit = checkpoint.stat().st_size // 2

    def small_files() -> None:
        # No file can grow beyond half a checkpoint: what a full disk does, without filling one.
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    full = subprocess.run(command, preexec_fn=small_files, capture_output=True, text=True, check=False, timeout=300)
    assert full.returncode == 2, full.stderr
    assert "cannot be written" in full.stderr
    assert full.stderr.count("\n") == 1
    assert hashlib.sha256(checkpoint.read_bytes()).digest() == before
    assert not list(run.glob("writing-*"))
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert again.returncode == 0, again.stderr
    assert [line["epoch"] for line in log(run)] == [str(epoch) for epoch in range(6)]
    assert lines < 6


def test_a_disk_that_fills_at_the_first_checkpoint_locks_nothing_out(tmp_path: Path, stripes: Path) -> None:
    recipe, whole, run = tmp_path / "tiny.toml", tmp_path / "whole", tmp_path / "run"
    recipe.write_text(RECIPE.replace("epochs = 4", "epochs = 1"))
    assert main([str(recipe), "--data", str(stripes), "--run", str(whole)]) == 0
    # The checkpoint has the optimizer's state too: the network itself still finds room.
    limit = (whole / "last.weights.h5").stat().st_size - 1
    assert (whole / "best.keras").stat().st_size < limit
    command = [sys.executable, "-m", "converters.cli.train", str(recipe), "--data", str(stripes), "--run", str(run)]
    full = subprocess.run(
        command,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert full.returncode == 2, full.stderr
    assert "last.weights.h5: cannot be written" in full.stderr
    assert subprocess.run(command, capture_output=True, check=False, timeout=300).returncode == 0
    assert len(log(run)) == 1


def test_a_run_folder_of_another_recipe_start_or_data_is_refused_and_left_as_it_is(
    tmp_path: Path, stripes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = RECIPE.replace("epochs = 4", "epochs = 2")
    recipe, run, other = tmp_path / "tiny.toml", tmp_path / "run", tmp_path / "other.npz"
    recipe.write_text(text)
    assert main([str(recipe), "--data", str(stripes), "--run", str(run)]) == 0
    kept = {file.name: file.read_bytes() for file in run.iterdir()}
    arrays = dict(np.load(stripes))
    np.savez(other, **{**arrays, "public_labels": arrays["public_labels"][::-1]})

    def refused(part: str, data: Path, *more: str) -> None:
        capfd.readouterr()
        assert main([str(recipe), "--data", str(data), "--run", str(run), *more]) == 2
        error = capfd.readouterr().err
        assert part in error
        assert error.count("\n") == 1
        assert {file.name: file.read_bytes() for file in run.iterdir()} == kept

    refused("with other data", other)
    refused("with other start", stripes, "--start", str(run / "best.keras"))
    recipe.write_text(text.replace("seed = 3", "seed = 4"))
    refused("a run of another recipe", stripes)
    (run / "last.weights.h5").unlink()
    kept.pop("last.weights.h5")
    refused("a run of another recipe", stripes)
    recipe.write_text(text)
    refused("last.weights.h5 is gone", stripes)


def test_a_run_whose_checkpoint_or_log_is_damaged_is_not_gone_on_with(
    tmp_path: Path, stripes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe, run = tmp_path / "tiny.toml", tmp_path / "run"
    recipe.write_text(RECIPE.replace("epochs = 4", "epochs = 2"))
    command = [str(recipe), "--data", str(stripes), "--run", str(run)]
    assert main(command) == 0
    best, lines, last = (run / "best.keras").read_bytes(), (run / "log.csv").read_text(), (run / "last.weights.h5").read_bytes()
    (run / "log.csv").write_text("".join(lines.splitlines(keepends=True)[:2]))
    assert main(command) == 2
    assert "has 1 epochs, last.weights.h5 has done 2" in capfd.readouterr().err
    (run / "log.csv").write_text(lines)
    (run / "last.weights.h5").write_bytes(last[: len(last) // 2])
    assert main(command) == 2
    assert "this checkpoint is damaged" in capfd.readouterr().err
    assert (run / "best.keras").read_bytes() == best


def test_a_disk_without_room_for_the_small_files_locks_nothing_out(tmp_path: Path, stripes: Path) -> None:
    recipe, run = tmp_path / "tiny.toml", tmp_path / "run"
    recipe.write_text(RECIPE.replace("epochs = 4", "epochs = 1"))
    command = [sys.executable, "-m", "converters.cli.train", str(recipe), "--data", str(stripes), "--run", str(run)]
    full = subprocess.run(
        command,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (full.returncode, full.stderr.count("\n")) == (2, 1), full.stderr
    assert "cannot be written" in full.stderr
    assert subprocess.run(command, capture_output=True, check=False, timeout=300).returncode == 0


def without_disgust(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**arrays, "train_labels": np.where(arrays["train_labels"] == 1, 0, arrays["train_labels"])}


def without_public(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: values[:0] if name.startswith("public") else values for name, values in arrays.items()}


@pytest.mark.parametrize(("change", "part"), [(without_disgust, "disgust"), (without_public, "0 PublicTest")])
def test_data_that_cannot_be_learned_from_is_one_line(
    tmp_path: Path,
    stripes: Path,
    change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]],
    part: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    recipe, data = tmp_path / "tiny.toml", tmp_path / "data.npz"
    recipe.write_text(RECIPE)
    np.savez(data, **change(dict(np.load(stripes))))
    assert main([str(recipe), "--data", str(data), "--run", str(tmp_path / "run")]) == 2
    error = capfd.readouterr().err
    assert part in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_wants_votes_says_where_they_come_from(
    tmp_path: Path, stripes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe, data = tmp_path / "tiny.toml", tmp_path / "data.npz"
    recipe.write_text(RECIPE.replace("[loss]", "[loss]\nvotes_head = 0.5"))
    arrays = {name: values for name, values in np.load(stripes).items() if not name.endswith("votes")}
    np.savez(data, **arrays)
    assert main([str(recipe), "--data", str(data), "--run", str(tmp_path / "run")]) == 2
    assert "fer2013new.csv" in capfd.readouterr().err
