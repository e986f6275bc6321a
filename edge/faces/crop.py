"""Frame + face -> crop: the canonical square at its native resolution, the head's roll undone."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.types import Crop, Face

# A face of fewer pixels says nothing; one of more is only slower, and the bound keeps a wild box from eating the memory.
SMALLEST, LARGEST = 16, 2048

# The second view is also mirrored: what the network sees differs as much as one face allows.
TIGHTER, LOOSER = 0.92, 1.06


def cut(image: NDArray[np.uint8], face: Face) -> Crop:
    """Cut a face out.

    Args:
        image: uint8 (H, W, 3), BGR: the full frame.
        face: the canonical square. Coordinates are continuous: pixel i covers i to i + 1, its centre is i + 0.5.

    Returns:
        uint8 (S, S, 3), BGR, S = the square's side in whole pixels. What lies outside the frame repeats its edge.
    """
    size = min(max(round(face.side), SMALLEST), LARGEST)
    step = face.side / size
    cos, sin = step * math.cos(face.roll), step * math.sin(face.roll)
    # Crop -> frame, between pixel centres: warpAffine puts the integer where the pixel's centre is.
    middle = (size - 1) / 2
    matrix = np.array(
        [
            [cos, -sin, face.x - 0.5 - middle * (cos - sin)],
            [sin, cos, face.y - 0.5 - middle * (sin + cos)],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def views(image: NDArray[np.uint8], face: Face, count: int) -> list[Crop]:
    """One or two looks at a face; the average of what a network says of two is steadier.

    The side of a detector's square spreads by a tenth around the one that FER2013 would have cut. Over all of PublicTest
    that costs one crop 1.0 point of accuracy and the average of two 0.2 (mean of two detectors and two networks), for one
    more inference (benchmarks/crop.py).

    Args:
        image: uint8 (H, W, 3), BGR: the full frame.
        face: the canonical square.
        count: 1 is the square itself; 2 a tighter one, and a looser one in the mirror.
    """
    if count == 1:
        return [cut(image, face)]
    tighter, looser = (cut(image, replace(face, side=face.side * factor)) for factor in (TIGHTER, LOOSER))
    return [tighter, np.ascontiguousarray(looser[:, ::-1])]
