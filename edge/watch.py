"""Capture and analysis while the device watches: begun together, ended together, and the analysis started anew when it hangs."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from edge.camera.capture import Capture
from edge.clock import SYSTEM, Clock
from edge.config import DetectorSettings, Settings
from edge.delivery import Announcer, State
from edge.emotion.open import Models
from edge.faces import FaceDetector, open_detector
from edge.faces.tracks import Tracker
from edge.health.meter import Meter
from edge.outlets import Outlets
from edge.pipeline import Analysis
from edge.worker import Worker

OpenFaces = Callable[[DetectorSettings, bool], FaceDetector]


class Watch:
    """The pair of threads that see.

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
        self._settings, self._models, self._detector, self.capture = settings, models, detector, capture
        self._open_faces = open_faces
        self._track_name, self._meter, self._clock = track_name, meter, clock
        # One numbering for all analyses of this run: a track's name is never used twice.
        self._numbers = itertools.count(1)
        self._analysis = self._analyse(detector)
        self._worker: Worker | None = None
        self._captured = self._dropped = self._reopened = 0

    def state(self) -> State:
        """Who is there now, before `begin`: nobody."""
        return self._analysis.state()

    def begin(self, outlets: Outlets, paused: bool) -> None:
        """Start the analysis, unless the run begins paused; the capture is started already.

        Args:
            outlets: where everything goes that is seen from now on.
            paused: wait for `resume`.
        """
        self._outlets = outlets
        if not paused:
            self._start_worker()

    def pause(self) -> None:
        """End both: every track ends, and the camera is given back."""
        self._stop_worker()
        self.capture.stop()

    def resume(self, capture: Capture) -> None:
        """Go on with another capture of the same source."""
        self._captured += self.capture.captured
        self._dropped += self.capture.dropped
        self._reopened += self.capture.reopened
        self.capture = capture
        capture.start()
        self._analysis = self._analyse(self._detector)
        self._start_worker()

    def use(self, models: Models) -> None:
        """Other models from the next frame on. What they say is another story: the present tracks end."""
        self._models = models
        self._analysis = self._analyse(self._detector)
        if self._worker is not None:
            self._worker.use(self._analysis)

    def restart(self) -> None:
        """Leave an analysis that hangs or has failed, and start another one with a detector of its own.

        Raises:
            EmotionEdgeError: the detector cannot be opened again.
        """
        if self._worker is not None:
            drafts, state = self._worker.abandon()
            self._outlets.told(drafts, state)
        self._detector = self._open_faces(self._settings.detector, self.capture.live)
        self._analysis = self._analyse(self._detector)
        self._start_worker()

    def stop(self) -> None:
        """End both for good."""
        self._stop_worker()
        self.capture.stop()

    @property
    def paused(self) -> bool:
        """Whether nothing is watched."""
        return self._worker is None

    @property
    def worker(self) -> Worker | None:
        """The analysis thread, None while paused."""
        return self._worker

    @property
    def counts(self) -> tuple[int, int, int]:
        """Frames captured and dropped, and times reopened, over all captures of this run."""
        capture = self.capture
        return self._captured + capture.captured, self._dropped + capture.dropped, self._reopened + capture.reopened

    def _analyse(self, detector: FaceDetector) -> Analysis:
        manifest = self._models.classifier.manifest
        interval = self._settings.delivery.update_interval
        announcer = Announcer(manifest.labels, manifest.identity, interval, self._track_name)
        tracker = Tracker(self._settings.tracks, self._numbers)
        return Analysis(detector, self._models, tracker, announcer, self._settings, live=self.capture.live)

    def _start_worker(self) -> None:
        silence = self._settings.tracks.max_gap
        self._worker = Worker(self.capture, self._analysis, self._outlets, self._meter, silence, self._clock)
        self._worker.start()

    def _stop_worker(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
