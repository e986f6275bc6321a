"""YuNet (Wu et al. 2023, doi:10.1007/s11633-023-1423-y), with five landmarks a face, on TFLite or OpenCV."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import DetectorError, ModelError, RuntimeMissingError, first_line
from edge.faces import distinct, shrink
from edge.faces.crop import cut
from edge.types import Face

log = logging.getLogger(__name__)

# Side of the square over height of the box; the centres are the same. Over FER2013 the box is 1.015 of the square high,
# with a spread of 0.11; with such a spread a little too tight costs less than a little too loose.
SIDE = 0.95
OVERLAP = 0.3
CANDIDATES = 500
# A frame of one cell of the network's 32 pixels gave boxes of uninitialised memory (OpenCV 4.14).
SMALLEST = 64

# Second look, at a face that seems to lean: at 50 pixels the landmarks hardly follow a head that leans by 20 degrees, and
# at any size they tell only about 0.6 of it. So the face is brought to one size and turned upright, step by step. It is
# for the roll alone: place and side of an upright face are no better for it, and each look costs half a detection.
LOOK_SIDE, LOOK_FACE, LOOK_SCORE, LOOKS = 160, 0.6, 0.3, 4
HINT, SETTLED = math.radians(3), math.radians(4)

# Radians. Below the first the slope of the eyes is as much noise as lean, and networks take it (training rolls by 12
# degrees); beyond the second a lean is undone in full.
UPRIGHT, LEANING = math.radians(12), math.radians(16)


class Network(Protocol):
    """YuNet's network, whoever computes it."""

    @property
    def name(self) -> str:
        """Package and version."""

    def rows(self, image: NDArray[np.uint8], min_score: float, max_overlap: float, candidates: int) -> NDArray[np.float32]:
        """As `edge.faces.yunet_tflite.TfliteYuNet.rows`."""


class OpenCvYuNet:
    """OpenCV's own FaceDetectorYN; its threads are those of all of OpenCV in this process."""

    name = f"opencv {cv2.__version__}"

    def __init__(self, weights: Path, threads: int) -> None:
        cv2.setNumThreads(threads)
        self._detector = cv2.FaceDetectorYN.create(str(weights), "", (LOOK_SIDE, LOOK_SIDE), LOOK_SCORE, OVERLAP, CANDIDATES)
        self.rows(np.zeros((LOOK_SIDE, LOOK_SIDE, 3), np.uint8), LOOK_SCORE, OVERLAP, CANDIDATES)

    def rows(self, image: NDArray[np.uint8], min_score: float, max_overlap: float, candidates: int) -> NDArray[np.float32]:
        self._detector.setInputSize((image.shape[1], image.shape[0]))
        self._detector.setScoreThreshold(min_score)
        self._detector.setNMSThreshold(max_overlap)
        self._detector.setTopK(candidates)
        found = self._detector.detect(image)[1]
        return np.empty((0, 15), np.float32) if found is None else np.asarray(found, np.float32)


@cache
def _advise(weights: Path, reason: str) -> None:
    """Once a process: the network is opened again and again to find the number of threads."""
    log.info("%s runs on OpenCV, which is slower than TFLite: %s", weights.name, reason)


def open_network(weights: Path, runtime: Literal["auto", "tflite", "opencv"], threads: int) -> Network:
    """Load YuNet's network.

    Args:
        weights: its .onnx.
        runtime: `auto` takes TFLite where it is installed and the file is as expected, else OpenCV.
        threads: CPU threads of one detection.

    Raises:
        DetectorError: the file is no YuNet, or the runtime that was asked for is missing.
    """
    reason = ""
    if runtime != "opencv":
        try:
            return _on_tflite(weights, threads)
        except (RuntimeMissingError, ModelError, OSError) as error:
            reason = str(error)
            if runtime == "tflite":
                missing = isinstance(error, RuntimeMissingError)
                raise DetectorError(
                    f"detector.runtime is tflite, but {reason}" if missing else _refusal(weights, reason)
                ) from None
    try:
        network = OpenCvYuNet(weights, threads)
    except (cv2.error, UnicodeDecodeError):
        raise DetectorError(_refusal(weights, f"not a YuNet face detector{f' ({reason})' if reason else ''}")) from None
    if reason:
        _advise(weights, reason)
    return network


def _on_tflite(weights: Path, threads: int) -> Network:
    try:
        from edge.faces.yunet_tflite import TfliteYuNet
    except ImportError as error:
        raise RuntimeMissingError(f"YuNet on TFLite needs flatbuffers: pip install flatbuffers ({first_line(error)})") from None
    return TfliteYuNet(weights.read_bytes(), threads)


def _refusal(weights: Path, reason: str) -> str:
    return f"{weights}: {reason}; `edge-fetch yunet` gets the right file"


class YuNet:
    """YuNet at the size of the shrunk frame."""

    def __init__(self, weights: Path, network: Network, width: int, min_score: float) -> None:
        self.name = f"yunet {weights.name} ({network.name})"
        self._network, self._width, self._min_score = network, width, min_score

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        small, scale = shrink(image, self._width)
        height, width = small.shape[:2]
        missing = max(0, SMALLEST - height), max(0, SMALLEST - width)
        if any(missing):
            small = np.asarray(cv2.copyMakeBorder(small, 0, missing[0], 0, missing[1], cv2.BORDER_CONSTANT), np.uint8)
        rows = self._rows(small, self._min_score)
        return distinct(self._look(image, _face(row * np.float32(scale), float(row[14]))) for row in rows)

    def _rows(self, image: NDArray[np.uint8], min_score: float) -> NDArray[np.float32]:
        """What the network finds, (N, 15). A box without a size or around nothing of the picture is none."""
        rows = self._network.rows(image, min_score, OVERLAP, CANDIDATES)
        if not len(rows):
            return rows
        middle, size = rows[:, :2] + rows[:, 2:4] / 2, np.array(image.shape[1::-1], np.float32)
        sound = (
            np.isfinite(rows).all(axis=1)
            & (rows[:, 2:4] > 1).all(axis=1)
            & (middle > 0).all(axis=1)
            & (middle < size).all(axis=1)
        )
        return rows[sound]

    def _look(self, image: NDArray[np.uint8], first: Face) -> Face:
        """Find out how far a face leans, at its native resolution, and place the square anew when that has to be undone."""
        face = first
        for _ in range(LOOKS if _seems_to_lean(first) else 0):
            view = Face(face.x, face.y, face.side / LOOK_FACE, face.roll)
            patch = cv2.resize(cut(image, view), (LOOK_SIDE, LOOK_SIDE), interpolation=cv2.INTER_AREA)
            rows = self._rows(np.asarray(patch, np.uint8), LOOK_SCORE)
            if not len(rows):
                break
            middle = np.abs(rows[:, :2] + rows[:, 2:4] / 2 - LOOK_SIDE / 2).sum(axis=1)
            found = _face(rows[int(middle.argmin())], face.score)
            face = _into_frame(found, view)
            if abs(found.roll) < SETTLED:
                break
        certain = min(max((abs(face.roll) - UPRIGHT) / (LEANING - UPRIGHT), 0.0), 1.0)
        return replace(face, roll=face.roll * certain) if certain else replace(first, roll=0.0)


def _face(row: NDArray[np.float32], score: float) -> Face:
    """One row of YuNet's output (box, landmarks: 14 numbers in pixels) as a square; the roll is the slope of the eyes."""
    x, y, w, h = row[:4].tolist()
    landmarks = row[4:14].reshape(5, 2).copy()
    lean = math.atan2(landmarks[1, 1] - landmarks[0, 1], landmarks[1, 0] - landmarks[0, 0])
    return Face(x + w / 2, y + h / 2, SIDE * h, lean, score, landmarks)


def _seems_to_lean(face: Face) -> bool:
    """By the line from eyes to mouth, which in a small face follows a lean sooner than the slope of the eyes."""
    assert face.landmarks is not None
    right, down = face.landmarks[3:].mean(axis=0) - face.landmarks[:2].mean(axis=0)
    return abs(math.atan2(right, down)) >= HINT


def _into_frame(found: Face, view: Face) -> Face:
    """A face found in a view of the frame -> the frame's coordinates."""
    assert found.landmarks is not None
    scale, cos, sin = view.side / LOOK_SIDE, math.cos(view.roll), math.sin(view.roll)
    turn = scale * np.array([[cos, sin], [-sin, cos]])
    points = (np.vstack([[found.x, found.y], found.landmarks]) - LOOK_SIDE / 2) @ turn + (view.x, view.y)
    x, y = points[0].tolist()
    return Face(x, y, found.side * scale, view.roll + found.roll, found.score, points[1:].astype(np.float32))
