"""The demo source: real portraits out of installed packages, moved and scaled so that tracking has something to do."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import CameraError
from edge.types import Frame

# Public-domain portraits: Grace Hopper (US Navy), Eileen Collins (NASA); the package, the file in it, and the part that
# shows head and shoulders as fractions: left, top, right, bottom.
PORTRAITS = (
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", (0.0, 0.0, 1.0, 1.0)),
    ("skimage", "data/astronaut.png", (0.16, 0.0, 0.72, 0.66)),
)

WIDTH, HEIGHT, RATE, SECONDS = 640, 480, 15.0, 12.0
# Seconds in which a visitor slides in or out.
SLIDE = 0.5


@dataclass(frozen=True, slots=True)
class _Visit:
    """A portrait on the stage: when it comes and goes (seconds), where it stands and how wide it is (pixels)."""

    begin: float
    end: float
    mirrored: bool
    x: float
    width: float
    growth: float


# The first stays; beside it one comes, goes, and another one comes.
VISITS = (
    _Visit(-1.0, SECONDS + 1, False, 175.0, 230.0, 60.0),
    _Visit(2.0, 6.0, True, 490.0, 250.0, 20.0),
    _Visit(7.5, SECONDS + 1, False, 480.0, 220.0, 40.0),
)


class Demo:
    """Twelve seconds, the same pixels every time; a replay in all respects."""

    live = False

    def __init__(self) -> None:
        portraits = find_portraits()
        if not portraits:
            raise CameraError("no portraits for the demo on this machine; pip install 'emotion-edge[demo]'")
        images = [_load(*portrait) for portrait in portraits]
        self._portraits = [images[i % len(images)] for i in range(len(VISITS))]
        self._number = 0

    def read(self) -> Frame | None:
        at = self._number / RATE
        if at >= SECONDS:
            return None
        # A plain wall, darker towards the floor.
        canvas = np.repeat(np.linspace(150, 110, HEIGHT).astype(np.uint8)[:, None, None], 3, axis=2).repeat(WIDTH, axis=1)
        for visit, portrait in zip(VISITS, self._portraits, strict=True):
            if visit.begin <= at <= visit.end:
                _paint(canvas, portrait, visit, at)
        light = 1.0 + 0.2 * math.sin(2 * math.pi * at / 5)
        frame = Frame(np.asarray(cv2.convertScaleAbs(canvas, alpha=light), np.uint8), self._number, at, at)
        self._number += 1
        return frame

    def describe(self) -> str:
        return f"demo, {WIDTH}x{HEIGHT} at {RATE:g} frames/s"

    def kill(self) -> None:
        """Nothing ever blocks."""

    def close(self) -> None:
        """Nothing is held open."""


def find_portraits() -> list[tuple[Path, tuple[float, float, float, float]]]:
    """The portraits that are installed, each with its part; their packages are looked up, not imported."""
    found = []
    for package, file, part in PORTRAITS:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            if (Path(folder) / file).is_file():
                found.append((Path(folder) / file, part))
    return found


def _load(path: Path, part: tuple[float, float, float, float]) -> NDArray[np.uint8]:
    image = cv2.imread(str(path))
    if image is None:
        raise CameraError(f"{path}: the demo's portrait cannot be read; reinstall the package that it is in")
    height, width = image.shape[:2]
    left, top, right, bottom = (round(fraction * length) for fraction, length in zip(part, (width, height) * 2, strict=True))
    return np.asarray(image[top:bottom, left:right], np.uint8)


def _paint(canvas: NDArray[np.uint8], portrait: NDArray[np.uint8], visit: _Visit, at: float) -> None:
    height, width = portrait.shape[:2]
    scale = (visit.width + visit.growth * math.sin(2 * math.pi * at / 9)) / width
    # Slides in from the right edge and out again.
    hidden = 1 - min(1.0, (at - visit.begin) / SLIDE, (visit.end - at) / SLIDE)
    x = visit.x + 15 * math.sin(2 * math.pi * at / 4) + hidden * (WIDTH + visit.width / 2 - visit.x)
    y = HEIGHT / 2 + 20 * math.sin(2 * math.pi * at / 3)
    sign = -1.0 if visit.mirrored else 1.0
    matrix = np.array([[sign * scale, 0.0, x - sign * scale * width / 2], [0.0, scale, y - scale * height / 2]])
    cv2.warpAffine(portrait, matrix, (WIDTH, HEIGHT), dst=canvas, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT)
