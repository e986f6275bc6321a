"""What a camera might have seen, told to a real Preview with real frames, faces, emotions and statistics; and its guests."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.delivery.events import CameraStats, Counters, Latency, Shadow, State, Stats, TrackState
from edge.preview import Preview
from edge.types import Emotion, Face, Frame, TrackedFace

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
MODEL = "micro 1.0.0 ab12cd34"
STAMP = "2026-11-21T07:48:00.000Z"
PICTURE = np.zeros((360, 640, 3), np.uint8)

STATE = State(1, 1, "happy", (TrackState("k3f9pa-1", "happy", 0.83, STAMP),), MODEL, "0.1.0")
STATS = Stats(
    v=1,
    at=STAMP,
    uptime=7260.5,
    fps=14.8,
    latency=Latency(21.04, 34.55, 52.13),
    frames=53280,
    frames_dropped=12,
    queue=1,
    events=Counters(waiting=3, published=412, dropped=0),
    temperature=58.3,
    rss=73_400_320,
    every=3,
    throttled=False,
    camera=CameraStats(640, 480, 15.02, 1),
    shadow=Shadow("tiny 2.0.0 99aa00bb", 1200, 0.934, 1.21, 0.48),
)


class ShiftedClock:
    """The machine's clocks, with a monotonic one that can be sent ahead: two minutes are played in a moment."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def time(self) -> float:
        return time.time() + self.ahead


def emotion(label: str, confidence: float, labels: Sequence[str] = LABELS) -> Emotion:
    """One as the smoother would give it."""
    scores = np.full(len(labels), (1 - confidence) / max(1, len(labels) - 1), np.float32)
    if label in labels:
        scores[labels.index(label)] = confidence
    return Emotion(label, confidence, scores, 0.0)


def face(
    track: int, x: float = 320.0, y: float = 180.0, side: float = 120.0, seen: bool = True, roll: float = 0.0
) -> TrackedFace:
    return TrackedFace(track, Face(x, y, side, roll), seen)


def frame(number: int, image: NDArray[np.uint8] = PICTURE) -> Frame:
    return Frame(image, number, number / 5, 1_700_000_000 + number / 5)


def two_minutes(preview: Preview, clock: ShiftedClock, image: NDArray[np.uint8] = PICTURE) -> int:
    """Two people for two minutes, a third who passed by, and six seconds without pictures. Returns the next number."""
    first = [
        ("neutral", 0, 22),
        ("happy", 22, 58),
        ("surprise", 58, 66),
        ("happy", 66, 95),
        ("uncertain", 95, 103),
        ("happy", 103, 200),
    ]
    second = [("sad", 34, 61), ("neutral", 61, 84), ("angry", 84, 99), ("neutral", 99, 200)]
    third = [("fear", 12, 21), ("disgust", 21, 31)]
    for number in range(625):
        at = number / 5
        clock.ahead += 0.2
        if 70 <= at < 76:
            continue
        faces = []
        for track, acts in ((1, first), (2, second), (3, third)):
            for label, begin, end in acts:
                if begin <= at < end:
                    sure = 0.36 if label == "uncertain" else 0.66 + 0.22 * np.sin(at / 5 + track) + 0.05 * np.sin(at * 1.7)
                    settled = at - acts[0][1] > 0.8
                    there = face(track, (190, 450, 320)[track - 1], 175, 130, roll=0.1 if track == 1 else 0)
                    faces.append((there, emotion(label, float(sure)) if settled else None))
        preview.frame(frame(number, image), faces)
    preview.stats(STATS)
    preview.state(STATE)
    return 625


def portrait() -> NDArray[np.uint8]:
    """Two made-up heads before a wall: a picture with something in it, and nobody's."""
    image = np.full((360, 640, 3), (206, 200, 190), np.uint8)
    for x, skin in ((190, (160, 190, 225)), (450, (110, 140, 180))):
        cv2.ellipse(image, (x, 372), (105, 130), 0, 180, 360, (120, 100, 70), -1, cv2.LINE_AA)
        cv2.ellipse(image, (x, 175), (56, 74), 0, 0, 360, skin, -1, cv2.LINE_AA)
        cv2.ellipse(image, (x, 190), (24, 18), 0, 10, 170, (60, 60, 120), 3, cv2.LINE_AA)
        for eye in (x - 22, x + 22):
            cv2.circle(image, (eye, 160), 5, (50, 40, 30), -1, cv2.LINE_AA)
    return image


def port_of(preview: Preview) -> int:
    return urlsplit(preview.address).port or 80


def ask(preview: Preview, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request; `Host=` replaces the right one, and _ stands for - in names."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(preview), timeout=20)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def send(preview: Preview, data: bytes) -> socket.socket:
    """A connection on which something was said."""
    connection = socket.create_connection(("127.0.0.1", port_of(preview)), timeout=20)
    connection.sendall(data)
    return connection


def listen(preview: Preview) -> tuple[socket.socket, bytes]:
    """A page's conversation, and what came first."""
    connection = send(preview, f"GET /events HTTP/1.1\r\nHost: localhost:{port_of(preview)}\r\n\r\n".encode())
    return connection, connection.recv(1 << 16)
