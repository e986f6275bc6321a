"""Small real implementations of our own protocols, for tests."""

from __future__ import annotations

import threading
import time

import numpy as np
from numpy.typing import NDArray

from edge.errors import CameraError
from edge.types import Face, Frame


class ManualClock:
    """Both clocks, moved by hand and each on its own."""

    def __init__(self, monotonic: float = 1000.0, wall: float = 1_700_000_000.0) -> None:
        self._monotonic, self._wall = monotonic, wall

    def monotonic(self) -> float:
        return self._monotonic

    def time(self) -> float:
        return self._wall

    def pass_by(self, seconds: float) -> None:
        """Time goes on for both."""
        self._monotonic += seconds
        self._wall += seconds

    def step(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self._wall += seconds


class ScriptedCamera:
    """A camera that gives runs of frames: between two runs, and at the end when live, it fails; or a read blocks."""

    def __init__(self, runs: list[int], live: bool, pause: float = 0.0, then_block: bool = False) -> None:
        self.live, self.closed, self.release = live, False, threading.Event()
        self._runs, self._pause, self._then_block, self._number = list(runs), pause, then_block, 0

    def read(self) -> Frame | None:
        if self._runs and self._runs[0] > 0:
            self._runs[0] -= 1
            self._number += 1
            time.sleep(self._pause)
            return Frame(np.zeros((1, 1, 3), np.uint8), self._number - 1, self._number / 10, self._number / 10)
        if self._then_block:
            self.release.wait(30)
        self._runs = self._runs[1:]
        if self.live:
            raise CameraError("the script is through")
        return None

    def describe(self) -> str:
        return "scripted camera"

    def close(self) -> None:
        self.closed = True


class SeenFaces:
    """A detector that sees in each frame what it was told to; it counts how often it is asked."""

    name = "seen"

    def __init__(self, faces: list[Face]) -> None:
        self.faces, self.asked = faces, 0

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        assert image.ndim == 3
        self.asked += 1
        return self.faces
