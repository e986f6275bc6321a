"""Faces only where somebody asked for them: a door, a seat, not the street behind the window."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge.config import Region
from edge.faces import FaceDetector, moved
from edge.types import Face


class InRegions:
    """A detector that sees no more of the picture than the box around all regions.

    The box is what is shrunk to the detector's width then, so smaller faces are found in it.
    """

    def __init__(self, detector: FaceDetector, regions: Sequence[Region]) -> None:
        """Wrap a detector.

        Args:
            detector: what finds the faces.
            regions: at least one; a face counts when its centre lies in one of them.
        """
        self._detector, self._regions = detector, tuple(regions)
        self.name = detector.name

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        height, width = image.shape[:2]
        boxes = [(x * width, y * height, (x + w) * width, (y + h) * height) for x, y, w, h in self._regions]
        lefts, tops, rights, bottoms = zip(*boxes, strict=True)
        # A region at the very edge of a tiny picture still is a pixel.
        left, top = min(math.floor(min(lefts)), width - 1), min(math.floor(min(tops)), height - 1)
        right, bottom = max(math.ceil(max(rights)), left + 1), max(math.ceil(max(bottoms)), top + 1)
        found = (moved(face, face.x + left, face.y + top) for face in self._detector.detect(image[top:bottom, left:right]))
        return [face for face in found if inside(face, self._regions, image)]


def inside(face: Face, regions: Sequence[Region], image: NDArray[np.uint8]) -> bool:
    """Whether the centre of a face lies in one of the regions of a picture."""
    height, width = image.shape[:2]
    return any(x * width <= face.x < (x + w) * width and y * height <= face.y < (y + h) * height for x, y, w, h in regions)
