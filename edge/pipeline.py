"""The only file that knows the order: frame -> faces -> tracks -> crops -> scores -> emotions -> events."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from edge.camera import Camera, Frame, open_camera
from edge.camera.ring import Capture
from edge.config import Settings
from edge.delivery import Announcer, Delivery, EventDraft
from edge.emotion.classify import Classifier, open_classifier
from edge.emotion.smooth import Smoother
from edge.faces import FaceDetector, open_detector
from edge.faces.crop import cut
from edge.faces.tracks import Tracker
from edge.health import Heartbeats, Systemd
from edge.meter import Meter
from edge.types import Emotion, TrackedFace

log = logging.getLogger(__name__)

DEFAULT_MODEL = Path(__file__).parent / "models" / "micro.int8.tflite"


class Analysis:
    """One frame's way from picture to event drafts. No threads, no clock, no I/O: benchmarks time it as it is."""

    def __init__(self, detector: FaceDetector, classifier: Classifier, announcer: Announcer, settings: Settings) -> None:
        self._detector, self._classifier, self._announcer, self._settings = detector, classifier, announcer, settings
        self._tracker = Tracker(settings.tracks)
        self._smoothers: dict[int, Smoother] = {}
        self._frames = 0

    def step(self, frame: Frame) -> list[EventDraft]:
        """Work through a frame; frames come in the order of their time."""
        if self._frames % self._settings.detector.every == 0:
            tracked, ended = self._tracker.update(self._detector.detect(frame.image), frame)
        else:
            tracked, ended = self._tracker.coast(frame)
        self._frames += 1
        for track in ended:
            self._smoothers.pop(track, None)
        return self._announcer.observe(frame, [(face, self._emotion(frame, face)) for face in tracked], ended)
