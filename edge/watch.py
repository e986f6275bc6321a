"""Capture and analysis while the device watches: begun together, ended together, and the analysis started anew when it hangs."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from msgspec.structs import replace

from edge.camera.capture import Capture
from edge.clock import SYSTEM, Clock
from edge.config import DetectorSettings, ModelSettings, Settings
from edge.delivery import Announcer, Counters, Shadow, State
from edge.emotion.manifest import Manifest
from edge.emotion.open import Models, open_models
from edge.faces import FaceDetector, open_detector
from edge.faces.tracks import Tracker
from edge.health.meter import Meter, Reading
from edge.outlets import Outlets
from edge.pipeline import Analysis
from edge.worker import Worker

OpenFaces = Callable[[DetectorSettings, bool], FaceDetector]


class Watch:
    """The pair of threads that see.

    Attributes:
        capture: the source at this moment.
        models: what looks at the faces at this moment.
        paused: whether the owner has it not look.

    Args:
        settings: camera, detector, tracks.
        models: what looks at the faces.
        detector: the first one, opened already; a hung one is replaced by another.
        capture: the source, not started yet.
        track_name: number of a track -> its name on the wire.
        meter: counts frames.
        open_faces: opens another detector in the place of one that hangs.
    """

    def __init__(
        self,
        settings: Settings,
        models: Models,
        detector: FaceDetector,
        capture: Capture,
        track_name: Callable[[int], str],
        meter: Meter,
        clock: Clock = SYSTEM,
        open_faces: OpenFaces = open_detector,
    ) -> None:
        self._settings, self.models, self._detector, self.capture = settings, models, detector, capture
        self._open_faces = open_faces
        self._track_name, self._meter, self._clock = track_name, meter, clock
        # One numbering for all analyses of this run: a track's name is never used twice.
        self._numbers = itertools.count(1)
        self._worker: Worker | None = None
        self.paused = False
        # The models in which a thread that was left behind may still hang.
        self._stuck: Models | None = None
        self._captured = self._dropped = self._reopened = 0

    def state(self) -> State:
        """Who is there now, before `begin`: nobody."""
        return self._analyse().state()

    def begin(self, outlets: Outlets, paused: bool) -> None:
        """Start the analysis, unless the run begins paused; the capture is started already.

        Args:
            outlets: where everything goes that is seen from now on.
            paused: wait for `resume`.
        """
        self._outlets, self.paused = outlets, paused
        if not paused:
            self._start_worker()

    def pause(self) -> None:
        """End both: every track ends, and the camera is given back."""
        self.stop()
        self.paused = True

    def resume(self, capture: Capture) -> None:
        """Go on with another capture of the same source.

        Args:
            capture: not started yet, and left so when this fails.

        Raises:
            EmotionEdgeError: the detector or the model, in which a thread still hangs, cannot be opened again.
        """
        if self._stuck is not None:
            self._replace(hangs=self._stuck is self.models)
            self._stuck = None
        self._captured += self.capture.captured
        self._dropped += self.capture.dropped
        self._reopened += self.capture.reopened
        self.capture = capture
        capture.start()
        self._start_worker()
        self.paused = False

    def use(self, settings: ModelSettings, models: Models) -> None:
        """Other models from the next frame on. What they say is another story: the present tracks end."""
        self._settings, self.models = replace(self._settings, model=settings), models
        if self._worker is not None:
            self._worker.use(self._analyse())

    def restart(self) -> None:
        """Leave an analysis that hangs or has failed, and start another one with a detector of its own.

        Raises:
            EmotionEdgeError: the detector or the model cannot be opened again.
        """
        if self._worker is not None:
            self._outlets.told(*self._worker.abandon())
            self._replace(hangs=self._worker.alive)
        self._start_worker()

    def _replace(self, hangs: bool) -> None:
        """A detector of its own for the next analysis; models of its own too when a thread still hangs in the present ones,
        which are for one thread: without a shadow, and without the GPU, which may be what it hangs in.
        """
        self._detector = self._open_faces(self._settings.detector, self.capture.live)
        if hangs:
            model, tensorrt = replace(self._settings.model, shadow=None), replace(self._settings.tensorrt, use="off")
            self.models = open_models(model, tensorrt)

    def stop(self) -> None:
        """End both for good."""
        self._stop_worker()
        self.capture.stop()

    @property
    def manifest(self) -> Manifest:
        """Of the model that speaks."""
        return self.models.classifier.manifest

    @property
    def worker(self) -> Worker | None:
        """The analysis thread, None while paused and at the end."""
        return self._worker

    def reading(self, events: Counters, restarts: int) -> Reading:
        """How everything stands, over all captures of this run.

        Args:
            events: what has become of them.
            restarts: stages that were started anew.
        """
        capture, worker, shadow = self.capture, self._worker, self.models.shadow
        return Reading(
            captured=self._captured + capture.captured,
            dropped=self._dropped + capture.dropped,
            queue=capture.waiting,
            events=events,
            every=worker.every if worker else 0,
            size=capture.size if capture.live else None,
            reopened=self._reopened + capture.reopened,
            restarts=restarts,
            shadow=Shadow(shadow.identity, shadow.looks, shadow.agreement, *shadow.milliseconds) if shadow else None,
        )

    def _analyse(self) -> Analysis:
        manifest = self.models.classifier.manifest
        interval = self._settings.delivery.update_interval
        announcer = Announcer(manifest.labels, manifest.identity, interval, self._track_name)
        tracker = Tracker(self._settings.tracks, self._numbers, self._settings.detector.regions)
        return Analysis(self._detector, self.models, tracker, announcer, self._settings, live=self.capture.live)

    def _start_worker(self) -> None:
        silence = self._settings.tracks.max_gap
        self._worker = Worker(self.capture, self._analyse(), self._outlets, self._meter, silence, self._clock)
        self._worker.start()

    def _stop_worker(self) -> None:
        if self._worker is not None:
            if not self._worker.stop():
                # It hangs: its tracks end here, and what it may still say is not heard.
                self._outlets.told(*self._worker.abandon())
                self._stuck = self.models
            self._worker = None
