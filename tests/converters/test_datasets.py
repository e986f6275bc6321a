"""Data sets as people have them: the Kaggle csv, the npz, folders by class; broken ones are refused with the place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from converters.datasets import FER2013_LABELS, Dataset, Split, open_dataset
from converters.datasets.align import align, find_class
from edge.errors import DataError

PIXELS = " ".join(["7"] * 2304)
HEADER = "emotion,pixels,Usage\n"


def test_the_csv_that_users_have_holds_what_the_npz_holds(testdata: Path, fer2013: Dataset, tmp_path: Path):
    tool = testdata / "tools" / "fer2013_csv.py"
    subprocess.run([sys.executable, str(tool), str(tmp_path / "fer2013.csv"), "40"], check=True)
    csv, npz = open_dataset(tmp_path / "fer2013.csv"), fer2013
    for one, other in ((csv.train, npz.train), (csv.held_out, npz.held_out)):
        assert len(one) == 40
        assert np.array_equal(one.images, other.images[:40])
        assert one.labels is not None
        assert other.labels is not None
        assert np.array_equal(one.labels, other.labels[:40])


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (f"3,{PIXELS}", r"row 3 has 2 columns, expected 3"),
        (f"3,{PIXELS[:-2]},Training", r"row 3: 2303 pixels, expected 2304"),
        (f"3,{PIXELS[:-1]}x,Training", r"row 3: pixels should be whole numbers"),
        (f"3,{PIXELS[:-1]}256,Training", r"row 3: pixels should lie in 0..255"),
        (f"9,{PIXELS},Training", r"row 3: emotion is '9'"),
        (f"3,{PIXELS[:-1]}99999999999999999999,Training", r"row 3: pixels should be whole numbers"),
        (f'3,"{PIXELS},Training' + "\n0" * 70000, r"never closed"),
        (f"3,{PIXELS},Testing", r"row 3: Usage is 'Testing'"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, row: str, sentence: str):
    path = tmp_path / "fer2013.csv"
    path.write_text(f"{HEADER}3,{PIXELS},Training\n{row}\n0,{PIXELS},PublicTest\n")
    with pytest.raises(DataError, match=sentence):
        open_dataset(path)


def test_the_private_test_is_never_read(tmp_path: Path):
    path = tmp_path / "fer2013.csv"
    path.write_text(f"{HEADER}3,{PIXELS},Training\n0,{PIXELS},PublicTest\n4,never parsed,PrivateTest\n")
    data = open_dataset(path)
    assert (len(data.train), len(data.held_out)) == (1, 1)


def test_another_csv_is_not_taken_for_fer2013(tmp_path: Path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"not the Kaggle fer2013\.csv"):
        open_dataset(tmp_path / "other.csv")


def test_an_empty_folder_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="no pictures here"):
        open_dataset(tmp_path)


def _pictures(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"{folder.name}{number}.png"), np.full((30, 30), number, np.uint8))


def test_folders_are_classes_by_any_usual_name_and_a_fifth_is_held_out(tmp_path: Path):
    _pictures(tmp_path / "Happiness", 60)
    _pictures(tmp_path / "sad", 60)
    data = open_dataset(tmp_path)
    assert data.train.labels is not None
    assert data.held_out.labels is not None
    assert set(data.train.labels.tolist()) == set(data.held_out.labels.tolist()) == {3, 4}
    assert 12 <= len(data.held_out) <= 36
    assert len(data.train) + len(data.held_out) == 120


def test_a_folder_that_is_no_class_is_named(tmp_path: Path):
    _pictures(tmp_path / "smiling", 2)
    with pytest.raises(DataError, match="folder 'smiling' is not a class of this network"):
        open_dataset(tmp_path)


def test_pictures_right_in_the_folder_are_unlabelled(tmp_path: Path):
    _pictures(tmp_path / "faces", 20)
    assert open_dataset(tmp_path / "faces").train.labels is None


def test_a_file_that_is_no_picture_is_named(tmp_path: Path):
    _pictures(tmp_path / "happy", 2)
    (tmp_path / "happy" / "broken.png").write_text("no picture")
    with pytest.raises(DataError, match=r"broken\.png: not a picture"):
        open_dataset(tmp_path)


def test_rows_are_put_into_the_models_order_and_unknown_classes_left_out():
    images = np.zeros((7, 4, 4), np.uint8)
    split = Split(images, np.arange(7))
    data = Dataset("d", FER2013_LABELS, split, split, "rest")
    aligned, dropped = align(data, ("Neutral", "happiness", "sad"))
    assert aligned.train.labels is not None
    assert aligned.train.labels.tolist() == [1, 2, 0]
    assert dropped == 8
    with pytest.raises(DataError, match="not one in common"):
        align(data, ("awake", "asleep"))


def test_an_exact_name_wins_over_a_synonym():
    assert find_class("calm", ("neutral", "calm")) == 1
    assert find_class("calm", ("neutral", "happy")) == 0


@pytest.mark.parametrize(
    "arrays",
    [
        None,
        {},
        {"shape": (4, 48, 48, 1), "labels": (4,)},
        {"shape": (4, 48, 48), "labels": (4, 1)},
        {"shape": (4, 48), "labels": (4,)},
    ],
)
def test_an_npz_that_is_none_or_of_another_shape_is_one_sentence(tmp_path: Path, arrays: dict | None):
    path = tmp_path / "data.npz"
    if arrays is None:
        path.write_bytes(b"")
    elif not arrays:
        np.save(path.with_suffix(".npy"), np.zeros(3))
        path.with_suffix(".npy").rename(path)
    else:
        images, labels = np.zeros(arrays["shape"], np.uint8), np.zeros(arrays["labels"], np.uint8)
        np.savez(path, train_images=images, train_labels=labels, public_images=images, public_labels=labels)
    with pytest.raises(DataError) as told:
        open_dataset(path)
    assert "\n" not in str(told.value)
