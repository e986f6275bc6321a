"""Pictures that are kept: off by default, unrecognisable by choice, deleted in time."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import cv2
import numpy as np
import pytest
from brokers import wait_for

from edge.camera.demo import find_portraits
from edge.config import Settings, SnapshotSettings
from edge.faces.haar import Haar
from edge.snapshots import Snapshots, blurred, keep_newest, sweep
from edge.types import Face


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    image = cv2.imread(str(find_portraits()[0][0]))
    assert image is not None
    return np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def test_nothing_is_kept_unless_asked_for() -> None:
    assert not Settings().snapshots.keep
    assert Settings().snapshots.blur == "faces"


def test_a_blurred_face_is_found_no_more_and_the_rest_stays(portrait: np.ndarray) -> None:
    detector = Haar(320)
    faces = detector.detect(portrait)
    assert faces, "the negative control: it is found as it is"
    hidden = blurred(portrait, faces, "faces")
    assert not detector.detect(hidden)
    assert np.array_equal(hidden[:5], portrait[:5])
    assert not np.array_equal(hidden, portrait)


def test_with_a_blurred_background_the_face_alone_is_left(portrait: np.ndarray) -> None:
    (face, *_) = Haar(320).detect(portrait)
    hidden = blurred(portrait, [face], "background")
    x, y = round(face.x), round(face.y)
    assert np.array_equal(hidden[y - 10 : y + 10, x - 10 : x + 10], portrait[y - 10 : y + 10, x - 10 : x + 10])
    assert len(np.unique(hidden[:5].reshape(-1, 3), axis=0)) <= 16
    assert blurred(portrait, [face], "nothing") is portrait


def test_a_face_at_the_edge_or_outside_does_not_stumble(portrait: np.ndarray) -> None:
    for face in (Face(-500, -500, 40), Face(0, 0, 60), Face(10_000, 5, 80)):
        for blur in ("faces", "background"):
            assert blurred(portrait, [face], blur).shape == portrait.shape


def test_pictures_are_for_the_owner_alone_and_the_newest_are_kept(tmp_path: Path, portrait: np.ndarray) -> None:
    album = Snapshots(SnapshotSettings(keep=True, most=2), tmp_path / "state")
    album.start()
    for second in range(3):
        album.take(portrait, [], 1_700_000_000.0 + second, f"track{second}-../../happy")
        wait_for(lambda s=second: any(f"track{s}-" in path.name for path in (tmp_path / "state/snapshots").glob("*.jpg")), 10)
    album.stop()
    folder = tmp_path / "state/snapshots"
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["2023-11-14T221321000Z-track1-happy.jpg", "2023-11-14T221322000Z-track2-happy.jpg"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert cv2.imread(str(folder / names[0])) is not None


def test_pictures_expire(tmp_path: Path) -> None:
    settings = SnapshotSettings(keep=True, expire=3600)
    for name, age in (("old.jpg", 3700), (".old.jpg", 3700), ("young.jpg", 3500), ("tomorrow.jpg", -90_000), ("old.txt", 3700)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    assert sweep(tmp_path, settings, 1e9) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.txt", "young.jpg"]
    assert sweep(tmp_path / "nowhere", settings, 1e9) == 0


def test_a_disk_that_takes_nothing_is_told_once_and_nothing_waits(
    tmp_path: Path, portrait: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "snapshots").write_text("a file where the folder should be")
    album = Snapshots(SnapshotSettings(keep=True), tmp_path)
    album.start()
    for second in range(20):
        album.take(portrait, [], second, "new-sad")
    wait_for(lambda: "no picture can be kept" in caplog.text, 10)
    album.stop()
    assert caplog.text.count("no picture can be kept") == 1


def test_the_oldest_of_too_many_go(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.jpg").write_bytes(b"x")
    keep_newest(tmp_path, 3)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["2", "3", "4"]
