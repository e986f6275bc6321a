"""YuNet on TFLite gives the faces that OpenCV's FaceDetectorYN gives, from exports of two sizes, at any size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.config import DetectorSettings
from edge.errors import DetectorError, ModelError
from edge.faces import open_detector
from edge.faces.onnx_file import read
from edge.faces.yunet import CANDIDATES, OVERLAP, SMALLEST, Network, open_network
from edge.faces.yunet_graph import YuNetGraph
from edge.faces.yunet_tflite import INTERPRETERS, TfliteYuNet
from edge.runtime.tflite import TfliteRuntime

EXPORTS = ("yunet_n_320_320.onnx", "yunet_n_640_640.onnx")
# Width, height: multiples of 32 and not, the second look's, the smallest, and the shapes of cameras.
SIZES = [(320, 240), (320, 180), (640, 360), (160, 160), (333, 187), (SMALLEST, SMALLEST), (200, 500)]


@pytest.fixture(scope="module")
def pictures(testdata: Path) -> list[np.ndarray]:
    """Two photographs and every twelfth frame of a stage, on which the light falls on people and on much else."""
    found = [cv2.imread(str(testdata / "media" / name)) for name in ("two-people.jpg", "portrait-480p.jpg")]
    capture = cv2.VideoCapture(str(testdata / "media" / "stage-performance.mp4"))
    while (read := capture.read())[0]:
        found.append(read[1])
    return found[:2] + found[2::12]


def both(testdata: Path, export: str) -> tuple[Network, Network]:
    weights = testdata / "models" / export
    tflite, opencv = open_network(weights, "tflite", 1), open_network(weights, "opencv", 1)
    assert "lite" in tflite.name
    assert opencv.name.startswith("opencv ")
    return tflite, opencv


@pytest.mark.parametrize("export", EXPORTS)
# The least sure one lets through what is no face at all: hundreds of boxes that overlap.
@pytest.mark.parametrize("min_score", [0.7, 0.3, 0.02])
def test_the_same_boxes_landmarks_and_scores_as_opencv(
    testdata: Path, pictures: list[np.ndarray], export: str, min_score: float
) -> None:
    tflite, opencv = both(testdata, export)
    compared = 0
    for number, picture in enumerate(pictures):
        small = cv2.resize(picture, SIZES[number % len(SIZES)], interpolation=cv2.INTER_AREA)
        ours, theirs = (network.rows(small, min_score, OVERLAP, CANDIDATES) for network in (tflite, opencv))
        assert len(ours) == len(theirs)
        if len(ours):
            assert np.abs(ours[:, :14] - theirs[:, :14]).max() < 1
            assert np.abs(ours[:, 14] - theirs[:, 14]).max() < 0.01
        compared += len(ours)
    assert compared > 20


@pytest.mark.parametrize("width", [320, 640])
def test_the_same_faces_with_their_leans_whoever_computes_them(testdata: Path, pictures: list[np.ndarray], width: int) -> None:
    """The second look too, which sees a face anew from where the look before has put it."""
    weights, found = str(testdata / "models" / EXPORTS[0]), []
    size = pictures[1].shape[1::-1]
    turns = [cv2.getRotationMatrix2D((444, 111), degrees, 1) for degrees in (-30, -24, 24, 30)]
    views = [*pictures[:2], *(cv2.warpAffine(pictures[1], turn, size, borderMode=cv2.BORDER_REPLICATE) for turn in turns)]
    for runtime in ("tflite", "opencv"):
        detector = open_detector(DetectorSettings(kind="yunet", weights=weights, width=width, runtime=runtime, threads=1))
        found.append([face for view in views for face in detector.detect(view)])
    assert len(found[0]) == len(found[1]) == 7
    assert sum(face.roll != 0 for face in found[0]) >= 3
    for ours, theirs in zip(*found, strict=True):
        assert (ours.x, ours.y, ours.side) == pytest.approx((theirs.x, theirs.y, theirs.side), abs=1)
        assert (ours.roll, ours.score) == pytest.approx((theirs.roll, theirs.score), abs=0.01)


def test_a_picture_of_another_size_is_no_other_network(testdata: Path, pictures: list[np.ndarray]) -> None:
    """Interpreters are kept for a few sizes; one that was pushed out and comes again finds the same."""
    network = TfliteYuNet((testdata / "models" / EXPORTS[0]).read_bytes(), 1)
    small = cv2.resize(pictures[0], (320, 180))
    before = network.rows(small, 0.7, OVERLAP, CANDIDATES)
    for side in range(64, 64 + 32 * INTERPRETERS, 32):
        network.rows(cv2.resize(pictures[0], (side, side)), 0.7, OVERLAP, CANDIDATES)
    assert np.array_equal(before, network.rows(small, 0.7, OVERLAP, CANDIDATES))


def test_without_tflite_opencv_does_it_and_tflite_asked_for_is_one_plain_line(testdata: Path) -> None:
    """In a process of its own, whose imports fail as they do where the wheels are missing."""
    code = """
import logging, sys
for module in ("ai_edge_litert", "tflite_runtime", "tensorflow"):
    sys.modules[module] = None
from edge.config import DetectorSettings
from edge.errors import DetectorError, ModelError
from edge.faces import open_detector
logging.basicConfig(level=logging.INFO)
print(open_detector(DetectorSettings(kind="yunet", weights=sys.argv[1])).name)
try:
    open_detector(DetectorSettings(kind="yunet", weights=sys.argv[1], threads=1, runtime="tflite"))
except DetectorError as error:
    print(error)
"""
    weights = testdata / "models" / EXPORTS[0]
    done = subprocess.run([sys.executable, "-c", code, weights], capture_output=True, text=True, timeout=60)
    name, message = done.stdout.splitlines()
    assert name == f"yunet {EXPORTS[0]} (opencv {cv2.__version__})"
    assert "pip install ai-edge-litert" in message
    assert done.stderr.count("which is slower than TFLite") == 1, "however often it was opened to find the number of threads"


def test_what_opencv_alone_can_read_is_opencvs(testdata: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes((testdata / "models" / EXPORTS[0]).read_bytes().replace(b"Relu", b"Tanh"))
    with caplog.at_level("INFO"):
        network = open_network(path, "auto", 1)
    assert network.name.startswith("opencv ")
    assert caplog.messages == ["other.onnx runs on OpenCV, which is slower than TFLite: not a YuNet: a layer of the kind Tanh"]
    caplog.clear()
    path.write_bytes(b"no file of any kind")
    with caplog.at_level("INFO"), pytest.raises(DetectorError, match="not an ONNX file"):
        open_network(path, "auto", 1)
    assert caplog.messages == []


def test_without_flatbuffers_opencv_does_it(testdata: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boards that were set up by hand may lack it."""
    for module in ("edge.faces.yunet_tflite", "edge.faces.yunet_graph", "edge.faces.tflite_file"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    weights = testdata / "models" / EXPORTS[1]
    assert open_network(weights, "auto", 1).name.startswith("opencv ")
    with pytest.raises(DetectorError, match="pip install flatbuffers"):
        open_network(weights, "tflite", 1)


@pytest.mark.parametrize("min_score", [0.0, 1.0])
def test_every_score_can_be_asked_for(testdata: Path, pictures: list[np.ndarray], min_score: float) -> None:
    network = open_network(testdata / "models" / EXPORTS[0], "tflite", 1)
    rows = network.rows(cv2.resize(pictures[0], (160, 160)), min_score, OVERLAP, CANDIDATES)
    assert bool(len(rows)) == (min_score == 0)


@pytest.mark.parametrize("cut", [0, 1, 7, 1000, 150_000])
def test_half_a_file_is_refused(testdata: Path, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "half.onnx"
    path.write_bytes((testdata / "models" / EXPORTS[0]).read_bytes()[:cut])
    with pytest.raises(DetectorError, match="edge-fetch yunet") as told:
        open_detector(DetectorSettings(kind="yunet", weights=str(path), runtime="tflite", threads=1))
    assert "\n" not in str(told.value)


def test_another_network_is_no_yunet(testdata: Path, tmp_path: Path) -> None:
    content = (testdata / "models" / EXPORTS[0]).read_bytes()
    path = tmp_path / "other.onnx"
    # The same network but for the name of one output.
    path.write_bytes(content.replace(b"kps_32", b"kps_33"))
    with pytest.raises(DetectorError, match="no output kps_32"):
        open_detector(DetectorSettings(kind="yunet", weights=str(path), runtime="tflite", threads=1))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"Relu", b"Tanh", "a layer of the kind Tanh"),
        (b"nearest", b"linear\xff", "not an ONNX file"),
        (b"nearest", b"cubicly", "Resize with mode = cubicly"),
        (b"MaxPool", b"MinPool", "a layer of the kind MinPool"),
    ],
)
def test_a_network_of_other_layers_is_refused(testdata: Path, tmp_path: Path, old: bytes, new: bytes, words: str) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes((testdata / "models" / EXPORTS[0]).read_bytes().replace(old, new))
    with pytest.raises(DetectorError, match=words):
        open_network(path, "tflite", 1)


def test_a_damaged_file_is_refused_or_runs(testdata: Path) -> None:
    """One bit before or behind the weights: no other error, and what is accepted gives a file that loads."""
    content = (testdata / "models" / EXPORTS[0]).read_bytes()
    draw, refused = np.random.default_rng(1), 0
    for _ in range(300):
        damaged = bytearray(content)
        # The nodes stand at the beginning, the outputs at the end.
        place = int(draw.integers(-3_000, 13_500))
        damaged[place] ^= 1 << int(draw.integers(0, 8))
        try:
            TfliteRuntime(YuNetGraph(bytes(damaged)).sized(64, 64))
        except ModelError:
            refused += 1
    assert refused > 20


def test_bytes_that_are_no_onnx_file_are_a_value_error() -> None:
    draw = np.random.default_rng(0)
    for length in (0, 1, 2, 3, 5, 8, 40, 200):
        for _ in range(50):
            with pytest.raises(ValueError, match=r".+"):
                read(draw.integers(0, 256, length, dtype=np.uint8).tobytes())
