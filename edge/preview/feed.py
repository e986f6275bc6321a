"""What the analysis hands over, kept for two minutes: the analysis never waits, and does next to nothing while nobody looks."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from edge import __version__
from edge.clock import SYSTEM, Clock
from edge.delivery.events import State, Stats
from edge.types import Emotion, TrackedFace

Faces = Sequence[tuple[TrackedFace, Emotion | None]]

# The page shows so much of the past, seconds.
WINDOW = 120.0
# At most so many looks a second are kept: a step of the time line is about one pixel then.
RATE = 5
# Faces of one frame that are kept: more than a page can show.
MOST_FACES = 32
# How often a page hears of what is new, and how often at least that there is nothing new, seconds.
TURN, QUIET = 0.25, 1.0


class Look(msgspec.Struct, frozen=True, array_like=True):
    """A face in one frame, as the page gets it: track, emotion (null: not settled), confidence in per cent, seen."""

    track: int
    emotion: str | None
    confidence: int
    seen: bool


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """The faces of one frame, and when it came: seconds since the feed began."""

    time: float
    faces: tuple[Look, ...]


class Health(msgspec.Struct, frozen=True):
    """What changes seldom.

    Attributes:
        age: seconds since the statistics were taken.
        broker: whether it is connected; None where nobody has told.
    """

    device: str
    model: str
    labels: tuple[str, ...]
    stats: Stats | None
    age: float
    state: State | None
    broker: bool | None


class Feed:
    """Written by the analysis and the supervisor, read by the threads of those who look.

    A lock is held for appends and copies alone, five times a second by the analysis.
    """

    def __init__(self, device: str, labels: Sequence[str], model: str, clock: Clock = SYSTEM) -> None:
        self._device, self._labels, self._model, self._clock = device, tuple(labels), model, clock
        self._began = clock.monotonic()
        # A page that sees another one knows that the service was started anew, and that its tracks are others.
        self._run = os.urandom(8).hex()
        self._lock = threading.Lock()
        self._samples = deque[Sample](maxlen=round(WINDOW * RATE))
        self._taken = self._frames = 0
        self._due = self._newest = -float("inf")
        self._stats: Stats | None = None
        self._stats_at = 0.0
        self._state: State | None = None
        self._broker: bool | None = None

    def frame(self, faces: Faces) -> None:
        """One frame is through: counted always, kept at most `RATE` times a second."""
        now = self._clock.monotonic()
        self._frames += 1
        self._newest = now
        if now < self._due:
            return
        self._due = now + 1 / RATE
        looks = tuple(
            Look(tracked.track, emotion.label if emotion else None, percent(emotion), tracked.seen)
            for tracked, emotion in faces[:MOST_FACES]
        )
        with self._lock:
            self._samples.append(Sample(round(now - self._began, 2), looks))
            self._taken += 1

    def stats(self, stats: Stats) -> None:
        """The newest statistics."""
        self._stats_at, self._stats = self._clock.monotonic(), stats

    def state(self, state: State) -> None:
        """The newest state."""
        self._state = state

    def broker(self, connected: bool) -> None:
        """Whether the broker has accepted us."""
        self._broker = connected

    def describe(self, labels: Sequence[str], model: str) -> None:
        """Another model has taken over."""
        self._labels, self._model = tuple(labels), model

    def messages(self, wait: Callable[[float], bool], pictures: bool) -> Iterator[bytes]:
        """What one page hears, as server-sent events, until `wait(seconds)` says that it is over.

        Args:
            wait: sleeps, and says whether to end.
            pictures: whether pictures may be asked for.
        """
        health = self._health()
        yield _event("health", health)
        samples, taken = self._since(0)
        hello = {"run": self._run, "version": __version__, "window": WINDOW, "pictures": pictures}
        yield _event("hello", hello | self._now() | {"samples": samples})
        told = self._clock.monotonic()
        while not wait(TURN):
            samples, taken = self._since(taken)
            now = self._clock.monotonic()
            if samples or now - told >= QUIET:
                told = now
                yield _event("tick", self._now() | {"samples": samples})
            fresh = self._health()
            if msgspec.structs.replace(fresh, age=health.age) != health:
                health = fresh
                yield _event("health", health)

    def _since(self, taken: int) -> tuple[tuple[Sample, ...], int]:
        """Samples that came after the first `taken` ones, and how many have come."""
        with self._lock:
            new = self._taken - taken
            samples = tuple(self._samples) if new else ()
            taken = self._taken
        return samples[-new:] if new else (), taken

    def _now(self) -> dict[str, Any]:
        now = self._clock.monotonic()
        silent = None if self._newest < self._began else round(now - self._newest, 2)
        return {"now": round(now - self._began, 2), "frames": self._frames, "silent": silent}

    def _health(self) -> Health:
        age = round(max(0.0, self._clock.monotonic() - self._stats_at), 1)
        return Health(self._device, self._model, self._labels, self._stats, age, self._state, self._broker)


def percent(emotion: Emotion | None) -> int:
    """Its confidence, 0 to 100; what is no number is 0."""
    return round(min(100.0, max(0.0, 100 * float(emotion.confidence)))) if emotion else 0


def _event(kind: str, content: Any) -> bytes:
    # JSON writes a line break inside a text as \n, so the data is one line.
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode(content))
