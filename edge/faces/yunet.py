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

# Of YuNet's box height. Over FER2013 the box is (5.3, -0.2, 37.6, 49.0) of 48: same centre, 48 / 49.0 of the height.
SIDE = 0.98
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
    x, y, w, h = row[:4].tolist()
    landmarks = row[4:14].reshape(5, 2).copy()
    roll = math.atan2(landmarks[1, 1] - landmarks[0, 1], landmarks[1, 0] - landmarks[0, 0])
    return Face(x + w / 2, y + h / 2, SIDE * h, roll, score, landmarks)
