"""YuNet (Wu et al. 2023, doi:10.1007/s11633-023-1423-y) by OpenCV's FaceDetectorYN, with five landmarks a face."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import DetectorError
from edge.faces import shrink
from edge.types import Face

# Side of the square over height of the box; the centres are the same. Over FER2013 the box is 1.015 of the square high,
# with a spread of 0.11; with such a spread a little too tight costs less than a little too loose.
SIDE = 0.95

# Radians. Below the first the slope of the eyes is as much noise as lean, and networks take it (training rolls by 12
# degrees); beyond the second a lean is undone in full. Over FER2013 this is worth 0.5 points against undoing every slope.
UPRIGHT, LEANING = math.radians(8), math.radians(16)

OVERLAP = 0.3
CANDIDATES = 500


class YuNet:
    """YuNet at the size of the shrunk frame, from any of its exports."""

    def __init__(self, weights: Path, width: int, min_score: float) -> None:
        self.name = f"yunet {weights.name}"
        self._width = width
        try:
            self._network = cv2.FaceDetectorYN.create(str(weights), "", (width, width), min_score, OVERLAP, CANDIDATES)
            self._rows(np.zeros((64, 64, 3), np.uint8))
        except (cv2.error, UnicodeDecodeError):
            raise DetectorError(f"{weights}: not a YuNet face detector; `edge-fetch yunet` gets the right file") from None

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        small, scale = shrink(image, self._width)
        faces = [to_face(row * np.float32(scale), float(row[14])) for row in self._rows(small)]
        return sorted(faces, key=lambda face: -face.side)

    def _rows(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._network.setInputSize(image.shape[1::-1])
        rows = self._network.detect(image)[1]
        return np.empty((0, 15), np.float32) if rows is None else np.asarray(rows, np.float32)


def to_face(row: NDArray[np.float32], score: float) -> Face:
    """One row of YuNet's output (box, landmarks: 14 numbers in pixels, then its score) as a canonical square."""
    x, y, w, h = row[:4].tolist()
    landmarks = row[4:14].reshape(5, 2).copy()
    lean = math.atan2(landmarks[1, 1] - landmarks[0, 1], landmarks[1, 0] - landmarks[0, 0])
    certain = min(max((abs(lean) - UPRIGHT) / (LEANING - UPRIGHT), 0.0), 1.0)
    return Face(x + w / 2, y + h / 2, SIDE * h, lean * certain, score, landmarks)
