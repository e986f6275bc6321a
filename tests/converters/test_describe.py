"""What the user says about a model: checked by name, flags over the file beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from converters.describe import Description, make_description, read_sidecar
from edge.errors import DataError


def test_flags_win_over_the_sidecar_and_silence_does_not(tmp_path: Path):
    (tmp_path / "model.toml").write_text('[model]\nlabels = ["a", "b"]\ncolor = "bgr"\nmean = [1, 2, 3]\nscale = [0.5]\n')
    sidecar = read_sidecar(tmp_path / "model.h5")
    assert Description(color="rgb").over(sidecar) == Description(labels=("a", "b"), color="rgb", mean=(1, 2, 3), scale=(0.5,))


def test_a_saved_model_folder_has_its_sidecar_beside_it(tmp_path: Path):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved.toml").write_text('[model]\nname = "ours"\n')
    assert read_sidecar(tmp_path / "saved").name == "ours"


def test_no_sidecar_says_nothing(tmp_path: Path):
    assert read_sidecar(tmp_path / "model.h5") == Description()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[model]\nlabel = ["a", "b"]\n', "label is not a key; did you mean labels"),
        ('[model]\ncolor = "grey"\n', "color: invalid enum value"),
        ("[model]\nmean = 127.5\nscale = 1\n", "mean: expected array"),
        ("[model]\nmean = [127.5]\n", "mean and scale go together"),
        ('[model]\nlabels = ["a", "a"]\n', "a label stands twice"),
        ('labels = ["a"]\n', r"expected one section, \[model\]"),
        ("[model\n", "not valid TOML"),
    ],
)
def test_a_mistake_in_the_sidecar_is_named(tmp_path: Path, text: str, sentence: str):
    (tmp_path / "model.toml").write_text(text)
    with pytest.raises(DataError, match=sentence):
        read_sidecar(tmp_path / "model.h5")


def test_an_unlike_key_lists_the_known_ones():
    with pytest.raises(DataError, match="known are labels, color"):
        make_description({"xyz": 1})
