"""Pictures that are not what a camera gives: each fault is told, clean faces never are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from converters.datasets import Dataset, Split
from converters.datasets.doubts import doubts, sharpness

Picture = NDArray[np.uint8]
NAMES = ("Training", "PublicTest")


def _changed(split: Split, change: Callable[[Picture], Picture]) -> Split:
    return Split([change(image) for image in split.images[:300]], None)


def _doubts(data: Dataset, change: Callable[[Picture], Picture]) -> list[str]:
    return doubts(_changed(data.train, change), _changed(data.held_out, change), NAMES, seed=0)


def _jpeg(image: Picture) -> Picture:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_ANYCOLOR), np.uint8)


def _skin(image: Picture) -> Picture:
    """The colours of skin on a gray face, BGR."""
    return np.clip(image[..., None] * np.array([0.75, 0.85, 1.1]), 0, 255).astype(np.uint8)


CLEAN: dict[str, Callable[[Picture], Picture]] = {
    "as it is": lambda image: image,
    "dark": lambda image: (image * 0.5).astype(np.uint8),
    "bright": lambda image: np.clip(image * 0.8 + 50, 0, 255).astype(np.uint8),
    "recompressed": _jpeg,
    "enlarged": lambda image: cv2.resize(image, (72, 72), interpolation=cv2.INTER_CUBIC),
    "in colour": _skin,
}
FAULTS: dict[str, tuple[Callable[[Picture], Picture], str]] = {
    "blurred by 1": (lambda image: cv2.GaussianBlur(image, (0, 0), 1.0), "blurred"),
    "blurred by 3": (lambda image: cv2.GaussianBlur(image, (0, 0), 3.0), "blurred"),
    "0..1 as -1..1": (lambda image: (127.5 + image / 2).astype(np.uint8), "0..1 taken for -1..1"),
    "-1..1 as 0..1": (lambda image: np.clip((image / 127.5 - 1) * 255, 0, 255).astype(np.uint8), "-1..1 taken for 0..1"),
    "0..1 as it is": (lambda image: np.rint(image / 255).astype(np.uint8), "scaled to 0..1 already"),
    "red and blue swapped": (lambda image: np.ascontiguousarray(_skin(image)[..., ::-1]), "swapped"),
}


@pytest.mark.parametrize("name", CLEAN)
def test_clean_faces_raise_no_doubt(fer2013: Dataset, name: str):
    assert _doubts(fer2013, CLEAN[name]) == []


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_told_for_both_parts(fer2013: Dataset, name: str):
    change, sentence = FAULTS[name]
    found = _doubts(fer2013, change)
    assert [sum(text.startswith(part) for text in found) for part in NAMES] == [1, 1]
    assert all(sentence in text for text in found)


def test_one_blurred_part_is_told_by_the_other(fer2013: Dataset):
    def soft(image: Picture) -> Picture:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.75), np.uint8)

    found = doubts(_changed(fer2013.train, soft), _changed(fer2013.held_out, lambda image: image), NAMES, seed=0)
    assert found == ["Training: far less sharp than PublicTest; one of the two was blurred"]


def test_no_small_draw_of_clean_faces_is_called_blurred(fer2013: Dataset):
    sharp = np.array([sharpness(image) for image in fer2013.held_out.images[:600]])
    rng = np.random.default_rng(0)
    medians = [np.median(rng.choice(sharp, 5, replace=False)) for _ in range(1000)]
    assert min(medians) > 0.02


def test_faces_out_of_photographs_and_video_raise_no_doubt(testdata: Path):
    finder = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    pictures = [cv2.imread(str(testdata / "media" / name)) for name in ("two-people.jpg", "portrait-480p.jpg")]
    video = cv2.VideoCapture(str(testdata / "media" / "stage-performance.mp4"))
    for number in range(0, 275, 25):
        video.set(cv2.CAP_PROP_POS_FRAMES, number)
        pictures.append(video.read()[1])
    faces = [
        np.ascontiguousarray(picture[y : y + side, x : x + side])
        for picture in pictures
        for x, y, side, _ in finder.detectMultiScale(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), 1.1, 6, minSize=(40, 40))
    ]
    assert len(faces) >= 8
    assert doubts(Split(faces, None), Split(faces[:3], None), NAMES, seed=0) == []
