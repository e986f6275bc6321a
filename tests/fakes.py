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
    """A camera that gives runs of frames: between two runs, and at the end when live, it fails; or a read blocks.

    Args:
        runs: frames of each run.
        live: whether it is a live one.
        pause: seconds before each frame.
        then_block: a read blocks instead of failing, until `release` is set or the camera is killed.
        held: by its driver: killing it does not help.
        still: the picture never changes.
    """

    def __init__(
        self,
        runs: list[int],
        live: bool,
        pause: float = 0.0,
        then_block: bool = False,
        held: bool = False,
        still: bool = False,
    ) -> None:
        self.live, self.closed, self.release = live, False, threading.Event()
        self._runs, self._pause, self._then_block, self._number = list(runs), pause, then_block, 0
        self._held, self._still = held, still

    def read(self) -> Frame | None:
        if self._runs and self._runs[0] > 0:
            self._runs[0] -= 1
            self._number += 1
            time.sleep(self._pause)
            picture = np.full((1, 1, 3), 0 if self._still else self._number % 256, np.uint8)
            return Frame(picture, self._number - 1, self._number / 10, self._number / 10)
        if self._then_block:
            self.release.wait(60)
        self._runs = self._runs[1:]
        if self.live:
            raise CameraError("the script is through")
        return None

    def kill(self) -> None:
        if not self._held:
            self.release.set()

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


class LivePicture:
    """A camera before a scene that hardly moves: a picture at a steady rate, by the clocks, never twice the same."""

    live = True

    def __init__(self, picture: NDArray[np.uint8], rate: float = 15.0) -> None:
        self._picture, self._pause, self._number = picture, 1 / rate, 0
        self.closed = threading.Event()

    def read(self) -> Frame:
        if self.closed.wait(self._pause):
            raise CameraError("the camera was closed")
        picture = self._picture.copy()
        picture[0, 0] = self._number % 256, self._number // 256 % 256, 0
        self._number += 1
        return Frame(picture, self._number - 1, time.monotonic(), time.time())

    def kill(self) -> None:
        self.closed.set()

    def describe(self) -> str:
        return f"a picture of {self._picture.shape[1]}x{self._picture.shape[0]}"

    def close(self) -> None:
        self.closed.set()


class HangingFaces(SeenFaces):
    """A detector that hangs when it has been asked so many times, until it is released."""

    def __init__(self, faces: list[Face], after: int) -> None:
        super().__init__(faces)
        self._after, self.release, self.hangs = after, threading.Event(), threading.Event()

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        if self.asked >= self._after:
            self.hangs.set()
            self.release.wait(120)
        return super().detect(image)
