"""A known face in the next frame, without a detector: its picture is looked for around its last place.

Normalised cross-correlation on small gray pictures does not mind the light, costs a twentieth of a detection, and tells
how sure it is: a face that is covered, or turns away, does not match any more.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.faces import moved
from edge.types import Face

# Pixels across a face's square, and by how many of them it may move between two frames: half its side, which at 10
# frames per second is as far as a head goes in a chair. On a stage at 30 frames per second 24 and 32 pixels were no better.
SIZE, REACH = 16, 8
# Correlation from which on it is still this face: of the whole square, and of its inside without so many pixels all
# round. After two frames of the stage 99 of 100 squares that still lay on their face (IoU >= 0.5 with YuNet's) were above
# 0.73 and 0.65, after four above 0.60 and, 95 of 100, 0.60. The head's outline alone reaches 0.67 behind a hand, the inside 0.39.
SURE, INSIDE, RIM = 0.6, 0.5, 3
# Gray levels: what varies less is a wall, which matches everything. Of a match, as a share of the sought picture's.
FLAT, FADED = 4.0, 0.3


@dataclass(frozen=True, slots=True)
class Likeness:
    """What a face looked like when it was last detected.

    Attributes:
        pixels: uint8 (SIZE, SIZE), gray.
        spread: their standard deviation.
        step: pixels of the frame per pixel of it.
        x, y: from the middle of `pixels` to the centre of the square, pixels of the frame.
    """

    pixels: NDArray[np.uint8]
    spread: float
    step: float
    x: float
    y: float


def remember(image: NDArray[np.uint8], face: Face) -> Likeness | None:
    """Take a face's likeness; None where there is nothing to recognise it by.

    Args:
        image: uint8 (H, W, 3), BGR: the frame in which it was detected.
        face: its square.
    """
    found = _patch(image, face.x, face.y, face.side, SIZE)
    if found is None:
        return None
    pixels, x, y, step = found
    spread = _spread(pixels)
    return Likeness(pixels, spread, step, face.x - x, face.y - y) if spread >= FLAT else None


def find(image: NDArray[np.uint8], likeness: Likeness, last: Face) -> tuple[Face, float] | None:
    """Look for a face around its last place.

    Args:
        image: uint8 (H, W, 3), BGR.
        likeness: what it looked like.
        last: its last known place.

    Returns:
        The face in its new place, of the same size, and the correlation (SURE to 1); None when it is not there.
    """
    window = SIZE + 2 * REACH
    found = _patch(image, last.x - likeness.x, last.y - likeness.y, likeness.step * window, window)
    if found is None:
        return None
    pixels, x, y, step = found
    matches = np.asarray(cv2.matchTemplate(pixels, likeness.pixels, cv2.TM_CCOEFF_NORMED), np.float32)
    _, correlation, _, (column, row) = cv2.minMaxLoc(matches)
    # The second bound: of two flat pictures OpenCV may say 1 or infinity.
    if not SURE <= correlation <= 1.001:
        return None
    there = pixels[row : row + SIZE, column : column + SIZE]
    if _spread(there) < FADED * likeness.spread or _agreement(_inside(there), _inside(likeness.pixels)) < INSIDE:
        return None
    right, down = column - REACH + _summit(matches[row], column), row - REACH + _summit(matches[:, column], row)
    x, y = x + right * step + likeness.x, y + down * step + likeness.y
    if not (0 <= x < image.shape[1] and 0 <= y < image.shape[0]):
        return None
    return moved(last, x, y), float(correlation)


def _patch(
    image: NDArray[np.uint8], x: float, y: float, side: float, size: int
) -> tuple[NDArray[np.uint8], float, float, float] | None:
    """A square of the frame as uint8 (size, size) gray, its true centre and pixels of the frame per pixel; None if outside."""
    height, width = image.shape[:2]
    whole = round(side)
    # Wider than the picture, it would be mostly edge; narrower than a few pixels there is no face.
    if not size // 4 <= whole <= 4 * max(height, width):
        return None
    left, top = round(x - whole / 2), round(y - whole / 2)
    right, bottom = left + whole, top + whole
    inside = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if not inside.size:
        return None
    if left < 0 or top < 0 or right > width or bottom > height:
        beyond = max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0)
        inside = np.asarray(cv2.copyMakeBorder(inside, *beyond, cv2.BORDER_REPLICATE), np.uint8)
    small = cv2.resize(inside, (size, size), interpolation=cv2.INTER_AREA if whole > size else cv2.INTER_LINEAR)
    gray = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)
    return gray, left + whole / 2, top + whole / 2, whole / size


def _inside(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels[RIM:-RIM, RIM:-RIM]


def _agreement(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(cv2.matchTemplate(a, b, cv2.TM_CCOEFF_NORMED)[0, 0])


def _spread(pixels: NDArray[np.uint8]) -> float:
    return float(cv2.meanStdDev(pixels)[1][0, 0])


def _summit(line: NDArray[np.float32], peak: int) -> float:
    """How far beside the highest of its samples a curve's summit lies: that of the parabola through it and its neighbours."""
    if not 0 < peak < len(line) - 1:
        return 0.0
    before, here, after = line[peak - 1 : peak + 2].tolist()
    bend = before - 2 * here + after
    return (before - after) / (2 * bend) if bend < 0 else 0.0
