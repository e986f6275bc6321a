"""Viola-Jones by OpenCV: the fallback that needs no file beyond OpenCV's wheel."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import DetectorError
from edge.faces import distinct, shrink
from edge.types import Face

CASCADE = "haarcascade_frontalface_default.xml"

# First look, over the whole shrunk frame. One neighbour less finds 2 % more faces and twice as many false ones.
STEP, NEIGHBOURS, SMALLEST = 1.1, 5, 24

# Second look, at each find alone, brought to one size and searched in fine steps: the first look's steps of 10 % cost
# mini-Xception 1.8 points on PublicTest, this one's 0.6, and the side no longer depends on the width of the shrunk frame.
LOOK_FACE, LOOK_SIDE, LOOK_STEP, LOOK_NEIGHBOURS = 48, 82, 1.03, 3
LOOK_RANGE = (36, 64)

# Of the second look's box, which over FER2013 is 1.027 of the square (centre 24.1, 24.3 of 48) with a spread of 0.12;
# with such a spread a little too tight costs less than a little too loose.
SIDE = 0.95


class Haar:
    """OpenCV's frontal-face cascade. It knows neither roll nor landmarks, and gives every face the score 1."""

    name = "haar"

    def __init__(self, width: int, threads: int = 1) -> None:
        """Load the cascade.

        Args:
            width: frames are shrunk to it, pixels.
            threads: CPU threads of one detection, which are those of all of OpenCV in this process.

        Raises:
            DetectorError: this OpenCV comes without it.
        """
        cv2.setNumThreads(threads)
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
        gray = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)
        boxes = self._cascade.detectMultiScale(gray, scaleFactor=STEP, minNeighbors=NEIGHBOURS, minSize=(SMALLEST, SMALLEST))
        finds = (self._look(gray, Face(x + w / 2, y + h / 2, w)) for x, y, w, h in np.reshape(boxes, (-1, 4)).tolist())
        faces = distinct(find for find in finds if find is not None)
        return [Face(face.x * scale, face.y * scale, face.side * scale) for face in faces]

    def _look(self, gray: NDArray[np.uint8], find: Face) -> Face | None:
        """Search the surroundings of a find again; None when there is no face after all."""
        step = find.side / LOOK_FACE
        left, top = (middle - LOOK_SIDE / 2 * step for middle in (find.x, find.y))
        # Pixel centres of the patch -> pixel centres of the frame.
        matrix = np.array([[step, 0, left + step / 2 - 0.5], [0, step, top + step / 2 - 0.5]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        patch = cv2.warpAffine(gray, matrix, (LOOK_SIDE, LOOK_SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        smallest, largest = ((side, side) for side in LOOK_RANGE)
        boxes, votes = self._cascade.detectMultiScale2(
            patch, scaleFactor=LOOK_STEP, minNeighbors=LOOK_NEIGHBOURS, minSize=smallest, maxSize=largest
        )
        if not len(boxes):
            return None
        x, y, w, h = (float(value) for value in boxes[int(np.argmax(votes))])
        return Face(left + (x + w / 2) * step, top + (y + h / 2) * step, SIDE * w * step)
