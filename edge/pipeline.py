"""The only file that knows the order: frame -> faces -> tracks -> crops -> scores -> emotions -> events -> broker."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import numpy as np

from edge.camera.ring import Capture
from edge.config import Settings
from edge.delivery import Announcer, Delivery, EventDraft, State
from edge.emotion.classify import DEFAULT_MODEL, Classifier, open_classifier
from edge.emotion.smooth import Smoother
from edge.errors import ModelError
from edge.faces import FaceDetector, open_detector
from edge.faces.crop import views
from edge.faces.tracks import Tracker
from edge.health import Heartbeats, Systemd
from edge.meter import Meter
from edge.types import Emotion, Frame, TrackedFace

log = logging.getLogger(__name__)

# How long the loop waits for a frame before it looks after everything else, seconds.
TURN = 0.25
# A thread that has not moved for so long hangs; delivery turns every second, seconds.
HUNG = 10.0


class Analysis:
    """One frame's way from picture to event drafts. No threads, no clock, no I/O: benchmarks time it as it is."""

    def __init__(self, detector: FaceDetector, classifier: Classifier, announcer: Announcer, settings: Settings) -> None:
        self._detector, self._classifier, self._announcer, self._settings = detector, classifier, announcer, settings
        self._tracker = Tracker(settings.tracks)
        self._smoothers: dict[int, Smoother] = {}
        self._emotions: dict[int, Emotion | None] = {}
        self._scene, self._since_detection = 0, 0

    def step(self, frame: Frame) -> list[EventDraft]:
        """Work through a frame; frames come in the order of their time."""
        if frame.scene != self._scene or self._since_detection == 0:
            tracked, ended = self._tracker.update(self._detector.detect(frame.image), frame)
            self._scene, self._since_detection = frame.scene, 0
        else:
            tracked, ended = self._tracker.coast(frame)
        self._since_detection = (self._since_detection + 1) % max(1, self._settings.detector.every)
        for track in ended:
            self._smoothers.pop(track, None)
            self._emotions.pop(track, None)
        return self._announcer.observe(frame, [(face, self._emotion(frame, face)) for face in tracked], ended)

    def end(self) -> list[EventDraft]:
        """The source is through, or has been silent for too long: end every track."""
        self._tracker.end()
        self._smoothers.clear()
        self._emotions.clear()
        self._since_detection = 0
        return self._announcer.end_all()

    def state(self) -> State:
        """Who is there now."""
        return self._announcer.state()

    def _emotion(self, frame: Frame, tracked: TrackedFace) -> Emotion | None:
        # Where the face was not seen there may be anything; its emotion is what it was.
        if tracked.seen:
            if tracked.track not in self._smoothers:
                labels = self._classifier.manifest.labels
                self._smoothers[tracked.track] = Smoother(labels, self._settings.emotion)
            crops = views(frame.image, tracked.face, self._settings.model.views)
            scores = np.asarray(np.mean(self._classifier.classify(crops), axis=0), np.float32)
            self._emotions[tracked.track] = self._smoothers[tracked.track].update(scores, frame.time, frame.at)
        return self._emotions.get(tracked.track)


class Service:
    """The whole program: capture, analysis and delivery, from start to a clean end.

    Raises:
        EmotionEdgeError: a model, detector, camera or outbox that cannot be used; nothing has been started then.
    """

    def __init__(self, settings: Settings, state_dir: Path) -> None:
        self._settings, self._state_dir = settings, state_dir
        self._systemd = Systemd()
        model = Path(settings.model.path).expanduser() if settings.model.path else DEFAULT_MODEL
        self._classifier = open_classifier(model, settings.model.threads, settings.model.delegate, settings.tensorrt)
        if self._classifier.manifest.input.landmarks is not None:
            raise ModelError(
                f"{model}: was trained on aligned faces (landmarks in its manifest); edge-run does not align faces yet"
            )
        self._detector = open_detector(settings.detector)
        self._capture = Capture(settings.camera, service=self._systemd.present)
        self._meter, self._beats = Meter(), Heartbeats(HUNG)

    def describe(self) -> str:
        """One line for people: which model, detector and runtime."""
        manifest = self._classifier.manifest
        return f"{manifest.identity} ({manifest.quantization}, {self._classifier.runtime.name}), faces by {self._detector.name}"

    def run(self, stop: threading.Event) -> int:
        """Watch the source until it is through or `stop` is set.

        Returns:
            Number of events that the broker has not acknowledged; they stay in the outbox.

        Raises:
            CameraError: the source cannot be opened, and this is no service or the source is a file.
            DeliveryError: the outbox cannot be opened.
        """
        delivery = Delivery(self._settings, self._state_dir, replay=not self._capture.live)
        manifest, events = self._classifier.manifest, self._settings.delivery
        announcer = Announcer(manifest.labels, manifest.identity, events.update_interval, delivery.track_name)
        analysis = Analysis(self._detector, self._classifier, announcer, self._settings)
        self._capture.start()
        log.info("%s", self.describe())
        delivery.start()
        delivery.set_state(analysis.state())
        self._systemd.ready("watching")
        clean = False
        try:
            self._watch(analysis, delivery, stop)
            self._end_tracks(analysis, delivery)
            if not stop.is_set():
                self._drain(delivery, stop)
            clean = True
        finally:
            self._systemd.stopping()
            self._capture.stop()
            left = delivery.stop(clean=clean)
            log.info("%d frames, %d events delivered, %d waiting", self._meter.frames, delivery.counters.published, left)
        return left

    def _watch(self, analysis: Analysis, delivery: Delivery, stop: threading.Event) -> None:
        degraded: str | None = None
        last = time.monotonic()
        while not stop.is_set():
            frame = self._capture.get(TURN)
            if frame is not None:
                last = began = time.monotonic()
                drafts = analysis.step(frame)
                if drafts:
                    delivery.put(drafts)
                    delivery.set_state(analysis.state())
                # A replay's time is its own: only a live frame has an age.
                self._meter.frame(time.monotonic() - (frame.time if self._capture.live else began))
            elif self._capture.ended:
                if self._capture.failure is not None:
                    raise self._capture.failure
                return
            elif self._capture.live and time.monotonic() - last > self._settings.tracks.max_gap:
                # Without a camera nobody is seen: the state must not go on claiming it.
                self._end_tracks(analysis, delivery)
            if self._capture.degraded != degraded:
                degraded = self._capture.degraded
                self._systemd.status(f"no camera: {degraded}" if degraded else "watching")
            self._look_after(delivery)

    def _end_tracks(self, analysis: Analysis, delivery: Delivery) -> None:
        drafts = analysis.end()
        if drafts:
            delivery.put(drafts)
            delivery.set_state(analysis.state())

    def _look_after(self, delivery: Delivery) -> None:
        """Statistics, and the watchdog: fed while both loops turn, whether or not there is a frame.

        That this loop turns is shown by its being here; only the other threads can hang unseen.
        """
        self._beats.beat("delivery", delivery.beat)
        if not self._beats.hung():
            self._systemd.feed()
        if self._meter.due(self._settings.delivery.stats_interval):
            delivery.stats(self._meter.snapshot(self._capture.dropped, self._capture.waiting, delivery.counters))

    def _drain(self, delivery: Delivery, stop: threading.Event) -> None:
        """Wait for the broker to have everything, in short turns, so that a signal still ends the wait."""
        deadline = time.monotonic() + self._settings.delivery.drain_timeout
        while time.monotonic() < deadline and not stop.is_set() and delivery.drain(TURN):
            self._look_after(delivery)
