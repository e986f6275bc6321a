"""The crowd's votes: read beside the csv, in the same rows, and put on the labels' own classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converters.datasets import FER2013_LABELS, open_dataset
from converters.datasets.votes import as_labels, shares

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"


def write(folder: Path, votes: str) -> Path:
    pixels = " ".join(["7"] * 48 * 48)
    rows = [(0, "Training"), (3, "PrivateTest"), (3, "Training"), (6, "PublicTest")]
    path = folder / "fer2013.csv"
    path.write_text("emotion,pixels,Usage\n" + "".join(f"{label},{pixels},{usage}\n" for label, usage in rows))
    (folder / "fer2013new.csv").write_text(HEADER + votes)
    return path


GOOD = (
    "Training,a.png,0,0,0,2,8,0,0,0,0,0\nPrivateTest,b.png,9,1,0,0,0,0,0,0,0,0\n"
    "Training,,0,0,0,0,0,0,0,0,0,10\nPublicTest,c.png,5,5,0,0,0,0,0,0,0,0\n"
)


def test_votes_beside_the_csv_belong_to_its_rows(tmp_path: Path) -> None:
    data = open_dataset(write(tmp_path, GOOD))
    assert data.train.votes is not None
    assert data.held_out.votes is not None
    assert data.train.votes.tolist() == [[0, 0, 0, 2, 8, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 10]]
    assert data.held_out.votes.tolist() == [[5, 5, 0, 0, 0, 0, 0, 0, 0, 0]]


def test_votes_become_shares_of_the_labels_own_classes() -> None:
    votes = np.array([[0, 0, 0, 2, 6, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 10], [-1] * 10], np.int8)
    own = as_labels(votes, FER2013_LABELS)
    np.testing.assert_allclose(own[0], [0.75, 0, 0, 0, 0.25, 0, 0])
    assert not own[1:].any()
    np.testing.assert_allclose(shares(votes).sum(1), [1, 1, 0])


@pytest.mark.parametrize(
    ("votes", "part"),
    [
        (GOOD.split("\n", 1)[1], "3 rows, fer2013.csv has 4"),
        (GOOD.replace("PrivateTest", "Training"), "row 3 is of 'Training'"),
        (GOOD.replace("9,1", "9,many"), "row 3 should have 10 counts"),
    ],
)
def test_votes_of_other_rows_are_left_out_and_the_reason_is_kept(tmp_path: Path, votes: str, part: str) -> None:
    """Whoever does not want them never hears of it."""
    data = open_dataset(write(tmp_path, votes))
    assert data.train.votes is None
    assert part in data.no_votes


def test_the_real_votes_agree_with_the_labels_as_often_as_is_known(testdata: Path) -> None:
    train = open_dataset(testdata / "data" / "fer2013-train-public.npz").train
    assert train.votes is not None
    assert train.labels is not None
    own = as_labels(train.votes, FER2013_LABELS)
    known = own.any(axis=1)
    # design.md's 63 % counts a majority over all ten choices.
    assert 0.6 < (own.argmax(1) == train.labels)[known].mean() < 0.75
