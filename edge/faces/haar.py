"""Viola-Jones by OpenCV: the fallback that needs no file beyond OpenCV's wheel."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import DetectorError
from edge.faces import shrink
from edge.types import Face

CASCADE = "haarcascade_frontalface_default.xml"

SCALE_STEP = 1.1
NEIGHBOURS = 5
# Of the shrunk frame, pixels; the cascade's own window is 24.
SMALLEST = 24


class Haar:
    """OpenCV's frontal-face cascade. It knows neither roll nor landmarks, and gives every face the score 1."""

    name = "haar"

    def __init__(self, width: int) -> None:
        try:
            from cv2 import data

            self._cascade = cv2.CascadeClassifier(str(Path(data.haarcascades) / CASCADE))
        except (ImportError, AttributeError):
            raise DetectorError("this OpenCV has no Haar cascades; pip install 'opencv-python-headless>=4.8,<5'") from None
        if self._cascade.empty():
            raise DetectorError(f"OpenCV's {CASCADE} cannot be read; reinstall opencv-python-headless>=4.8,<5")
        self._width = width

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        small, scale = shrink(image, self._width)
        gray = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        boxes = self._cascade.detectMultiScale(
            gray, scaleFactor=SCALE_STEP, minNeighbors=NEIGHBOURS, minSize=(SMALLEST, SMALLEST)
        )
        # Haar's box is FER2013's square as it stands: median 0.25, 0.25, 47.25 of 48 over the data set.
        faces = [Face((x + w / 2) * scale, (y + h / 2) * scale, w * scale) for x, y, w, h in np.reshape(boxes, (-1, 4)).tolist()]
        return sorted(faces, key=lambda face: -face.side)
