"""The newest picture with its faces, as a JPEG: made while somebody looks, by the thread of who asks."""

from __future__ import annotations

import json
import threading

import cv2
import numpy as np

from edge.clock import SYSTEM, Clock
from edge.preview.feed import MOST_FACES, Faces, percent
from edge.types import Frame

# At most so many pictures a second, however many look.
RATE = 5
# Frames are handed over for this long after somebody asked, seconds.
WATCHED = 3.0
WIDTH, QUALITY = 640, 75
# How long one asks for the first frame, seconds.
PATIENCE = 0.5


class Pictures:
    """One frame at most is held, none while nobody looks."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._lock, self._came = threading.Lock(), threading.Event()
        self._newest: tuple[Frame, Faces, float] | None = None
        self._made: tuple[bytes, str] | None = None
        self._made_of = -1
        self._wanted_until = self._due = -float("inf")

    def offer(self, frame: Frame, faces: Faces) -> None:
        """By the analysis, for every frame: a reference where somebody looks, else nothing."""
        now = self._clock.monotonic()
        if now < self._wanted_until:
            self._newest = (frame, faces, now)
            self._came.set()
        elif self._newest is not None:
            self.forget()

    def forget(self) -> None:
        """Nobody looks, or nothing is watched any more: no picture is kept."""
        with self._lock:
            self._newest = self._made = None
            self._came.clear()

    def newest(self) -> tuple[bytes, str] | None:
        """The newest picture, at most `WIDTH` pixels wide.

        Returns:
            A JPEG, and its faces as JSON in ASCII: a list of [track, emotion or null, confidence in per cent, seen, x, y,
            side, roll], with x and side as fractions of the width and y of the height, roll in radians; None where there
            is no frame, or none younger than `WATCHED`.
        """
        self._wanted_until = self._clock.monotonic() + WATCHED
        self._came.wait(PATIENCE)
        with self._lock:
            newest, now = self._newest, self._clock.monotonic()
            if newest is None or now - newest[2] > WATCHED:
                return None
            frame, faces, _ = newest
            if self._made is None or (frame.number != self._made_of and now >= self._due):
                self._due = now + 1 / RATE
                self._made, self._made_of = (_jpeg(frame), _boxes(frame, faces)), frame.number
            return self._made


def _jpeg(frame: Frame) -> bytes:
    image = frame.image
    height, width = image.shape[:2]
    if width > WIDTH:
        image = np.asarray(
            cv2.resize(image, (WIDTH, max(1, round(height * WIDTH / width))), interpolation=cv2.INTER_AREA), np.uint8
        )
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def _boxes(frame: Frame, faces: Faces) -> str:
    height, width = frame.image.shape[:2]
    boxes = []
    for tracked, emotion in faces[:MOST_FACES]:
        face = tracked.face
        where = (face.x / width, face.y / height, face.side / width, face.roll)
        confidence = percent(emotion)
        boxes.append(
            [tracked.track, emotion.label if emotion else None, confidence, tracked.seen, *(round(float(f), 4) for f in where)]
        )
    return json.dumps(boxes)
