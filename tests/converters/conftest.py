"""Small Keras models, built and saved once for all tests of the converters."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from converters.cli.convert import main
from converters.datasets import Dataset, open_dataset
from converters.quiet import import_tensorflow, quiet


@pytest.fixture(scope="session")
def network() -> Any:
    """A 24x24 gray network with seven outputs and weights by chance, as a Keras model."""
    _, keras = import_tensorflow()
    with quiet():
        keras.utils.set_random_seed(4)
        layers = keras.layers
        inputs = keras.Input((24, 24, 1))
        x = layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
        x = layers.DepthwiseConv2D(3, activation="relu")(x)
        x = layers.Flatten()(x)
        return keras.Model(inputs, layers.Dense(7, activation="softmax", kernel_initializer="he_normal")(x))


@pytest.fixture(scope="session")
def kept(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the network as model.keras, model.h5, weights and SavedModel."""
    folder = tmp_path_factory.mktemp("models")
    with quiet():
        network.save(folder / "model.keras")
        network.save(folder / "model.h5")
        network.save_weights(folder / "only.weights.h5")
        network.export(folder / "saved", verbose=False)
    return folder


@pytest.fixture
def model(kept: Path, tmp_path: Path) -> Path:
    """A copy of model.keras in a folder of its own."""
    return Path(shutil.copy(kept / "model.keras", tmp_path / "model.keras"))


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """Runs edge-convert, expects exit 2 with one plain line and nothing new in the folder; returns the line."""

    def run(*argv: str | Path) -> str:
        before = sorted(tmp_path.rglob("*"))
        capfd.readouterr()
        status = main([str(word) for word in argv])
        out, err = capfd.readouterr()
        assert (status, out) == (2, "")
        assert err.startswith("edge-convert: ")
        assert err.count("\n") == 1, err
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return run


@pytest.fixture(scope="session")
def fer2013(testdata: Path) -> Dataset:
    """The real faces: reading them takes seconds, so they are read once."""
    return open_dataset(testdata / "data" / "fer2013-train-public.npz")
