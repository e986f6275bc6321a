"""The only file that knows the order: frame -> faces -> tracks -> crops -> scores -> emotions -> events."""

from __future__ import annotations

from typing import NamedTuple

from edge.clock import SYSTEM, Clock
from edge.config import Settings
from edge.delivery import Announcer, EventDraft, State
from edge.emotion.open import Models
from edge.emotion.smooth import Smoother
from edge.faces import FaceDetector
from edge.faces.crop import views
from edge.faces.pace import Pace
from edge.faces.tracks import Tracker
from edge.types import Emotion, Frame, Scores, TrackedFace


class Seen(NamedTuple):
    """What one frame has shown.

    Attributes:
        faces: every living track, with its emotion once it has one.
        drafts: what is worth telling the world.
        searched: whether faces were looked for in this very frame, and not only followed.
    """

    faces: list[tuple[TrackedFace, Emotion | None]]
    drafts: list[EventDraft]
    searched: bool


class Analysis:
    """One frame's way from picture to event drafts. No threads and no I/O: benchmarks time it as it is.

    Args:
        detector: finds the faces.
        models: look at them.
        tracker: tells which face is which.
        announcer: decides what is worth an event.
        settings: `detector.every`, views, tracks and emotions.
        live: whether frames go by unread; the load decides how often to detect then.
    """

    def __init__(
        self,
        detector: FaceDetector,
        models: Models,
        tracker: Tracker,
        announcer: Announcer,
        settings: Settings,
        live: bool = False,
        clock: Clock = SYSTEM,
    ) -> None:
        self._detector, self._models, self._tracker, self._announcer = detector, models, tracker, announcer
        self._settings, self._clock = settings, clock
        self._pace = Pace(settings.detector.every, live, settings.tracks.max_gap)
        self._smoothers: dict[int, Smoother] = {}
        self._emotions: dict[int, Emotion | None] = {}

    @property
    def every(self) -> int:
        """Faces are looked for in every so-manieth frame at this moment, and followed between."""
        return self._pace.every

    def step(self, frame: Frame, waiting: int = 0) -> Seen:
        """Work through a frame.

        Args:
            frame: frames come in the order of their time.
            waiting: how many newer ones there are already.
        """
        began, detection = self._clock.monotonic(), None
        if self._pace.due(frame, waiting, self._tracker.uneasy):
            found = self._detector.detect(frame.image)
            detection = self._clock.monotonic() - began
            tracked, ended = self._tracker.update(found, frame)
        else:
            tracked, ended = self._tracker.follow(frame)
        for track in ended:
            self._smoothers.pop(track, None)
            self._emotions.pop(track, None)
        faces = [(face, self._emotion(frame, face)) for face in tracked]
        drafts = self._announcer.observe(frame, faces, ended)
        self._pace.spent(detection, self._clock.monotonic() - began)
        return Seen(faces, drafts, detection is not None)

    def end(self) -> list[EventDraft]:
        """The source is through, or has been silent for too long: end every track."""
        self._tracker.end()
        self._smoothers.clear()
        self._emotions.clear()
        self._pace.reset()
        return self._announcer.end_all()

    def state(self) -> State:
        """Who is there now."""
        return self._announcer.state()

    def _emotion(self, frame: Frame, tracked: TrackedFace) -> Emotion | None:
        # Where the face was not seen there may be anything; its emotion is what it was.
        if not tracked.seen:
            return self._emotions.get(tracked.track)
        smoother = self._smoothers.get(tracked.track)
        if smoother is None:
            smoother = Smoother(self._models.classifier.manifest.labels, self._settings.emotion)
            self._smoothers[tracked.track] = smoother
        emotion = smoother.update(self._scores(frame, tracked), frame.time, frame.at)
        self._emotions[tracked.track] = emotion
        return emotion

    def _scores(self, frame: Frame, tracked: TrackedFace) -> Scores:
        crops = views(frame.image, tracked.face, self._settings.model.views)
        began = self._clock.monotonic()
        scores = self._models.classifier.look(crops)
        shadow = self._models.shadow
        if shadow is not None and shadow.wants(tracked.track):
            shadow.look(crops, scores, self._clock.monotonic() - began)
        return scores
