"""Both detectors on real pictures: the right number of faces, in the right place, at every size."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.camera.demo import find_portraits
from edge.config import DetectorSettings
from edge.errors import DetectorError
from edge.faces import FaceDetector, find_weights, open_detector
from edge.faces.crop import cut

# Centres and sides of the squares, from both detectors at full size: pixels.
FACES = {"two-people.jpg": [(312, 122, 190), (868, 152, 190)], "portrait-480p.jpg": [(444, 111, 142)]}
EXPORTS = ("yunet_n_320_320.onnx", "yunet_n_640_640.onnx")


def open_kind(kind: str, testdata: Path, width: int = 320) -> FaceDetector:
    if kind == "haar":
        return open_detector(DetectorSettings(kind="haar", width=width, threads=1))
    return open_detector(DetectorSettings(kind="yunet", weights=str(testdata / "models" / kind), width=width, threads=1))


@pytest.mark.parametrize("kind", ["haar", *EXPORTS])
@pytest.mark.parametrize("width", [320, 480, 640])
@pytest.mark.parametrize("picture", FACES)
def test_exactly_the_faces_that_are_there(testdata: Path, kind: str, width: int, picture: str) -> None:
    image = cv2.imread(str(testdata / "media" / picture))
    found = open_kind(kind, testdata, width).detect(image)
    assert len(found) == len(FACES[picture])
    assert [face.side for face in found] == sorted((face.side for face in found), reverse=True)
    for face, (x, y, side) in zip(sorted(found, key=lambda face: face.x), FACES[picture], strict=True):
        assert math.hypot(face.x - x, face.y - y) < 0.08 * side
        assert face.side == pytest.approx(side, rel=0.12)


def test_haar_finds_a_portrait_that_comes_with_a_package_and_nothing_on_a_wall() -> None:
    detector = open_detector(DetectorSettings(kind="haar"))
    (face,) = detector.detect(cv2.imread(str(find_portraits()[0][0])))
    assert 150 < face.side < 250
    assert detector.name == "haar"
    assert detector.detect(np.full((480, 640, 3), 127, np.uint8)) == []


@pytest.mark.parametrize("kind", ["haar", EXPORTS[0]])
@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 900, 3), (900, 7, 3), (33, 47, 3), (2160, 3840, 3), (100_000, 2, 3)])
def test_any_size_of_frame_is_taken(testdata: Path, kind: str, shape: tuple[int, int, int]) -> None:
    assert open_kind(kind, testdata).detect(np.zeros(shape, np.uint8)) == []


@pytest.mark.parametrize("degrees", [-35, -20, 20, 35])
def test_yunet_undoes_a_lean(testdata: Path, degrees: float) -> None:
    image = cv2.imread(str(testdata / "media" / "portrait-480p.jpg"))
    height, width = image.shape[:2]
    detector = open_kind(EXPORTS[0], testdata)
    (upright,) = detector.detect(image)
    turn = cv2.getRotationMatrix2D((upright.x, upright.y), -degrees, 1.0)
    (leaning,) = detector.detect(cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REPLICATE))
    assert upright.roll == pytest.approx(0, abs=math.radians(3))
    assert math.degrees(leaning.roll) == pytest.approx(degrees, abs=6)
    assert leaning.landmarks is not None
    assert leaning.landmarks.shape == (5, 2)
    turned = cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    expected, as_it_leans = cut(image, upright), cut(turned, replace(leaning, roll=0.0))
    assert correlation(expected, cut(turned, leaning)) > max(0.7, correlation(expected, as_it_leans) + 0.2)


def test_a_small_slope_of_the_eyes_is_not_taken_for_a_lean(testdata: Path) -> None:
    image = cv2.imread(str(testdata / "media" / "portrait-480p.jpg"))
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), -4, 1.0)
    (face,) = open_kind(EXPORTS[0], testdata).detect(cv2.warpAffine(image, turn, (width, height)))
    assert face.roll == 0.0


def test_landmarks_are_in_the_frame_and_in_order(testdata: Path) -> None:
    image = cv2.imread(str(testdata / "media" / "portrait-480p.jpg"))
    (face,) = open_kind(EXPORTS[0], testdata).detect(image)
    assert face.landmarks is not None
    (right_eye, left_eye, nose, right_mouth, left_mouth) = face.landmarks
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_mouth[0] < left_mouth[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])
    assert np.abs(face.landmarks - (face.x, face.y)).max() < face.side / 2


def test_auto_takes_yunet_where_its_weights_are(testdata: Path) -> None:
    with_weights = DetectorSettings(kind="auto", weights=str(testdata / "models" / EXPORTS[0]))
    assert open_detector(with_weights).name.startswith(f"yunet {EXPORTS[0]} (")


def test_weights_are_looked_for_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The environment is the user's interface here, not code of ours.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = find_weights(None)
    assert before is None or tmp_path not in before.parents
    (tmp_path / "emotion-edge").mkdir()
    other = tmp_path / "emotion-edge" / "my_yunet_export.onnx"
    other.write_bytes(b"")
    pinned = other.with_name("face_detection_yunet_2023mar.onnx")
    if before is None:
        assert find_weights(None) == other
        pinned.write_bytes(b"")
        assert find_weights(None) == pinned
    assert find_weights(str(other)) == other


@pytest.mark.parametrize(
    ("name", "content"), [("text.onnx", b"hello"), ("empty.onnx", b""), ("half.onnx", None), ("text.bin", b"hello")]
)
def test_weights_that_are_none_are_one_plain_line(testdata: Path, tmp_path: Path, name: str, content: bytes | None) -> None:
    path = tmp_path / name
    path.write_bytes((testdata / "models" / EXPORTS[0]).read_bytes()[:150_000] if content is None else content)
    with pytest.raises(DetectorError, match="not a YuNet face detector") as told:
        open_detector(DetectorSettings(kind="yunet", weights=str(path)))
    assert "\n" not in str(told.value)


def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="no such file"):
        open_detector(DetectorSettings(kind="auto", weights=str(tmp_path / "none.onnx")))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    small = [cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (48, 48), interpolation=cv2.INTER_AREA) for image in (a, b)]
    return float(np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1])
