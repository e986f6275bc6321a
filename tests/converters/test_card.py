"""The card: figures by hand, every word that has to be on it, and pictures that can be read."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from converters.datasets import Dataset
from converters.proof.card import Card, Network, Protocol, Training, card, duplicates_of, training_of
from converters.proof.charts import confusion_chart
from converters.proof.evaluate import confidence
from converters.proof.prose import markdown, table
from converters.proof.report import FileFacts
from edge.emotion.manifest import InputSpec
from edge.errors import DataError

LABELS = ("glad", "sad|blue", "none")
TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 2])
SAID = np.array([0, 0, 0, 1, 1, 1, 0, 2])
TWINS = np.array([1, 0, 0, 0, 1, 0, 0, 0], bool)
NETWORK = Network(
    name="tiny",
    version="1.0",
    file=FileFacts("tiny.int8.tflite", "ab" * 32, 1234),
    loader="ai-edge-litert",
    quantization="int8",
    labels=LABELS,
    input=InputSpec(48, 48, 1, "gray", (127.5,), (1 / 127.5,)),
    preprocessing="by its manifest",
    bytes=1234,
    parameters=1000,
    macs=2_500_000,
    latency_ms=0.5,
    machine="x86_64",
)


def _scores(said: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.where(np.eye(3)[said] == 1, 0.8, 0.1).astype(np.float32)


def _card(data: str = "FER2013", twins: NDArray[np.bool_] | None = TWINS, mirrored: NDArray[np.float32] | None = None) -> Card:
    scores = _scores(SAID)
    return card(
        NETWORK,
        Protocol(data, "PublicTest", 8, "cd" * 32),
        scores,
        TRUTH,
        confidence(scores, TRUTH, None),
        ("2026-11-21T12:00:00.000Z", "edge-evaluate tiny.int8.tflite", {"numpy": "2.4"}),
        Training("edge-train", "tiny", 7, 3, 9),
        twins,
        mirrored,
        ["one note"],
    )


def test_the_figures_are_those_counted_by_hand():
    made = _card()
    assert made.accuracy == 6 / 8
    assert made.standard_error == pytest.approx(np.sqrt(0.75 * 0.25 / 8))
    assert made.recall == {"glad": 3 / 4, "sad|blue": pytest.approx(2 / 3), "none": 1.0}
    assert made.precision == {"glad": 3 / 4, "sad|blue": pytest.approx(2 / 3), "none": 1.0}
    assert made.confusion == [[3, 1, 0], [1, 2, 0], [0, 0, 1]]
    # Without rows 0 and 4, both right: 4 of 6.
    assert made.deduplicated is not None
    assert (made.deduplicated.removed, made.deduplicated.rows) == (2, 6)
    assert made.deduplicated.accuracy == pytest.approx(4 / 6)
    assert made.confidence.ece_before == pytest.approx(0.05)
    assert made.flip_average is None


def test_the_flip_average_stands_beside_the_figure_and_never_for_it():
    # The mirror images are surer, and right.
    mirrored = np.where(np.eye(3)[TRUTH] == 1, 0.98, 0.01).astype(np.float32)
    made = _card(mirrored=mirrored)
    assert (made.accuracy, made.flip_average) == (6 / 8, 1.0)
    assert "| Accuracy | 75.00%" in markdown(made, "x.png")
    assert "| Accuracy, flip-averaged | 100.00% (another protocol" in markdown(made, "x.png")
    assert "flip-averaged" in table(made)


def test_twins_are_found_by_their_pixels_alone():
    rng = np.random.default_rng(0)
    train = rng.integers(0, 256, (50, 6, 6), np.uint8)
    held = rng.integers(0, 256, (9, 6, 6), np.uint8)
    held[2], held[7] = train[13], train[0]
    nearly = train[20].copy()
    nearly[5, 5] ^= 1
    held[4] = nearly
    assert np.flatnonzero(duplicates_of(train, held)).tolist() == [2, 7]
    # The same bytes in another shape are another picture; folders hold pictures of many sizes.
    assert duplicates_of([train[0].reshape(4, 9)], [train[0], train[0].reshape(4, 9)]).tolist() == [False, True]


def test_public_test_has_the_twins_that_are_known(fer2013: Dataset):
    mask = duplicates_of(list(fer2013.train.images), list(fer2013.held_out.images))
    assert 0.07 < mask.mean() < 0.09


def test_a_card_without_a_row_left_has_no_second_figure():
    assert _card(twins=np.ones(8, bool)).deduplicated is None


def test_the_page_says_everything_that_has_to_be_said():
    page = markdown(_card(), "tiny.int8.confusion.png")
    for words in (
        "FER2013 PublicTest, 8 rows, single crop, no test-time augmentation",
        "`edge-train`, recipe tiny, seed 7",
        "epoch 3 of 9",
        "75.00% (standard error 15.31 points)",
        "without 2 rows whose pixels occur in the training part",
        "| Parameters | 1,000 |",
        "2.50 million",
        "0.500 ms (one thread, LiteRT as int8 .tflite, x86_64)",
        "offered by Kaggle for research",
        "`edge-evaluate tiny.int8.tflite`",
        "numpy 2.4",
        "![Confusion matrix and reliability diagram](tiny.int8.confusion.png)",
        "One note.",
        "An expression is not a feeling",
        "children, old people, dark skin",
        "Sad|blue and glad are its weakest classes.",
        "Regulation (EU) 2024/1689",
        "Article 5(1)(f)",
        "Article 50(3)",
        "Apache-2.0",
    ):
        assert words in page, words
    # A bar in a label would begin a new cell of the table.
    assert "| PublicTest | glad | sad\\|blue | none |" in page


def test_other_peoples_pictures_are_not_described_as_fer2013():
    page = markdown(_card(data="faces"), "x.png")
    assert "web search in 2013" not in page
    assert "not known here; clear it" in page
    assert "Article 5(1)(f)" in page


def test_the_json_holds_the_whole_card():
    made = _card()
    assert msgspec.json.decode(msgspec.json.encode(made), type=Card) == made


def test_the_chart_is_wide_enough_to_read_and_shows_the_matrix():
    made, scores = _card(), _scores(SAID)
    content = confusion_chart(made.confusion, LABELS, ("tiny", "75 %"), scores, scores, TRUTH, made.confidence)
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[1] >= 1200
    # Dark cells on the diagonal, pale ones off it; the left two thirds hold the matrix.
    blue = picture[..., 0].astype(int) - picture[..., 2]
    assert (blue > 60).mean() > 0.1
    assert content == confusion_chart(made.confusion, LABELS, ("tiny", "75 %"), scores, scores, TRUTH, made.confidence)


LOG = "epoch,loss,held_out_accuracy,seconds\n0,2,0.31,1\n1,1,0.52,1\n2,1,0.52,1\n"


def test_the_chosen_epoch_is_read_from_a_recipe_or_a_run(tmp_path: Path):
    (tmp_path / "tiny.toml").write_text('name = "tiny"\nseed = 4\n[schedule]\nepochs = 3\n[distill]\nviews = 2\n')
    found = training_of(tmp_path / "tiny.toml")
    assert (found.tool, found.seed, found.epoch) == ("edge-distill", 4, None)
    assert found.selection == "not known: no log beside the recipe"
    (tmp_path / "tiny.csv").write_text(LOG)
    # The first of equals is what training keeps.
    assert training_of(tmp_path / "tiny.toml").epoch == 2
    claim = {"recipe": {"name": "tiny", "seed": 4, "schedule": {"epochs": 3}}, "origins": []}
    (tmp_path / "recipe.json").write_text(json.dumps(claim))
    (tmp_path / "log.csv").write_text(LOG)
    assert training_of(tmp_path / "recipe.json") == Training("edge-train", "tiny", 4, 2, 3)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"name": "x"}', '{"name": "x", "schedule": 3}', '{"recipe": 3}'])
def test_what_is_no_recipe_is_refused(tmp_path: Path, content: str):
    (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(DataError, match="not a recipe"):
        training_of(tmp_path / "recipe.json")
    with pytest.raises(DataError, match="cannot be read"):
        training_of(tmp_path / "none.toml")
