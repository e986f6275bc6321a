"""The supervisor: it ties the stages together, starts them, and takes commands and other models until it is told to stop.

Threads: capture and analysis (`Watch`), delivery, and this one, whose turns are those of the `Lookout`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from edge.camera import Camera, open_camera
from edge.camera.capture import Capture
from edge.clock import SYSTEM, Clock
from edge.config import CameraSettings, Settings
from edge.control import Control
from edge.delivery import About, Delivery
from edge.errors import EmotionEdgeError, OutboxError, StageError, first_line
from edge.extras import open_extras, serve_metrics
from edge.faces import open_detector
from edge.health import Systemd
from edge.health.meter import Meter
from edge.lookout import Lookout
from edge.outlets import Outlets
from edge.reload import Opened, Reload, open_named
from edge.update.open import open_updates
from edge.update.package import BRANCH as UPDATES
from edge.watch import OpenFaces, Watch
from edge.worker import TURN

log = logging.getLogger(__name__)


class Openers(NamedTuple):
    """What opens that which can hang."""

    camera: Callable[[CameraSettings], Camera] = open_camera
    faces: OpenFaces = open_detector


class Service:
    """The whole program.

    Args:
        settings: everything.
        state_dir: outbox, snapshots, and whether it is paused.
        reread: the settings as they stand in the file now, for a reload of the model.
        openers: what opens the camera and the detector.

    Raises:
        EmotionEdgeError: a model, detector or setting that cannot be used; nothing has been started then.
    """

    def __init__(
        self,
        settings: Settings,
        state_dir: Path,
        reread: Callable[[], Settings] | None = None,
        clock: Clock = SYSTEM,
        openers: Openers | None = None,
    ) -> None:
        self._settings, self._state_dir, self._clock = settings, state_dir, clock
        self._openers = openers or Openers()
        self._reread = reread or (lambda: settings)
        self._systemd = Systemd()
        self._capture = self._new_capture()
        # A file is replayed with the model that the settings name, today and next year.
        self._updates = open_updates(settings.update, state_dir / "models", clock) if self._capture.live else None
        opened = open_named(settings) if self._updates is None else self._updates.open(settings)
        self._settings, self._models = replace(settings, model=opened.settings), opened.models
        self._detector = self._openers.faces(settings.detector, self._capture.live)
        self._extras = open_extras(settings, state_dir, self._models.classifier.manifest)
        self._meter = Meter(clock)
        self._reloading: Reload | None = None

    def describe(self) -> str:
        """One line for people: which model, detector and runtime."""
        return f"{self._models.describe()}, faces by {self._detector.name}"

    def run(self, stop: threading.Event, reload: threading.Event | None = None) -> int:
        """Watch the source until it is through or `stop` is set.

        Args:
            stop: ends it cleanly.
            reload: asks for the model anew; cleared here.

        Returns:
            Number of events that the broker has not acknowledged; they stay in the outbox.

        Raises:
            CameraError: the source cannot be opened, and this is no service or the source is a file.
            DeliveryError: the outbox cannot be opened, or password or certificates cannot be read.
            StageError: a part of the program hangs and cannot be helped; only a new process can.
        """
        self._delivery = self._open_delivery()
        clean = False
        try:
            self._begin(stop)
            self._supervise(stop, reload or threading.Event())
            self._watch.stop()
            if not stop.is_set():
                self._drain(stop)
            clean = True
        finally:
            self._systemd.stopping()
            try:
                self._watch.stop()
                if self._updates is not None:
                    self._updates.stop()
            finally:
                # Before everything else: the goodbye is promised within seconds, a page can wait.
                left = self._delivery.stop(clean=clean)
                self._extras.stop()
            # One line is enough for a source that could not be opened.
            if clean or self._meter.frames or left:
                told = self._meter.frames, self._delivery.counters.published, left
                log.info("%d frames, %d events delivered, %d waiting", *told)
        return left

    def _open_delivery(self) -> Delivery:
        try:
            return Delivery(self._settings, self._state_dir, replay=not self._capture.live)
        except OutboxError as error:
            # A disk that is full now, or an outbox that a killed predecessor still holds, may be better in a moment: a
            # service tries again.
            if self._systemd.present:
                raise StageError(str(error)) from None
            raise

    def _begin(self, stop: threading.Event) -> None:
        """Tie the stages together and start them, the source first: it is what fails most often."""
        delivery, capture = self._delivery, self._capture
        self._watch = Watch(
            self._settings,
            self._models,
            self._detector,
            capture,
            delivery.track_name,
            self._meter,
            self._clock,
            self._openers.faces,
        )
        self._outlets = Outlets(delivery, self._watch.state(), self._extras.snapshots, self._extras.page)
        self._lookout = Lookout(
            self._settings, self._systemd, self._watch, delivery, self._outlets, self._extras, self._meter, self._clock
        )
        mark = self._state_dir / "paused"
        paused = capture.live and mark.exists()
        self._control = Control(
            delivery,
            mark,
            live=capture.live,
            paused=lambda: self._watch.paused,
            pause=self._pause,
            resume=lambda: self._watch.resume(self._new_capture(patient=True)),
            reload=self._reload,
            figures=self._lookout.figures,
            state=lambda: self._outlets.state,
        )
        if not paused:
            capture.start(stop.is_set)
        log.info("%s", self.describe())
        self._outlets.condition(paused, ())
        self._extras.metrics = serve_metrics(self._settings, self._lookout.figures, patient=self._systemd.present)
        self._extras.start(patient=self._systemd.present)
        delivery.describe(self._about())
        if self._updates is not None:
            delivery.listen(UPDATES, self._updates.hear)
            self._updates.start(partial(delivery.tell, UPDATES))
        delivery.start()
        self._watch.begin(self._outlets, paused)
        self._systemd.ready("paused" if paused else "watching")

    def _supervise(self, stop: threading.Event, reload: threading.Event) -> None:
        while not stop.is_set():
            worker = self._watch.worker
            if worker is None:
                stop.wait(TURN)
            elif worker.through.wait(TURN):
                if not self._watch.capture.live:
                    failure = self._watch.capture.failure or worker.failure
                    if failure is not None:
                        raise failure
                    return
                if worker.failure is not None:
                    log.error("the analysis has failed", exc_info=worker.failure)
                self._lookout.restart(f"the analysis has failed ({first_line(worker.failure or RuntimeError('it has ended'))})")
            if reload.is_set() and self._reloading is None:
                reload.clear()
                self._reload(lambda _: None)
            self._control.turn()
            self._take_up_reload()
            self._take_up_update()
            self._lookout.turn()

    def _pause(self) -> None:
        self._watch.pause()
        if self._extras.page is not None:
            self._extras.page.forget()

    def _reload(self, then: Callable[[EmotionEdgeError | None], None]) -> None:
        """Begin to open the model that the settings name now; the present one goes on until it is open, and if it fails.

        Raises:
            EmotionEdgeError: one is being opened already.
        """
        if self._reloading is not None:
            raise EmotionEdgeError("another model is being opened at this moment; ask again when that is done")
        reopen = open_named if self._updates is None else self._updates.reopen
        self._reloading = Reload(self._reread, reopen, then)

    def _take_up_reload(self) -> None:
        if self._reloading is None or self._reloading.outcome is None:
            return
        reload, self._reloading = self._reloading, None
        if isinstance(reload.outcome, EmotionEdgeError):
            stays = f"{first_line(reload.outcome)}; {self._watch.manifest.identity} stays"
            log.warning("reload: %s", stays)
            self._lookout.problems.report("model", stays)
            reload.then(EmotionEdgeError(stays))
        elif reload.outcome is not None:
            self._use(reload.outcome)
            reload.then(None)

    def _take_up_update(self) -> None:
        """A model that came over MQTT begins its trial, or ends it badly. One change of models at a time."""
        if self._updates is not None and self._reloading is None:
            opened = self._updates.turn(self._lookout.restarts.total, watching=not self._watch.paused)
            if opened is not None:
                self._use(opened)

    def _use(self, opened: Opened) -> None:
        self._models = opened.models
        self._watch.use(*opened)
        about = self._about()
        self._delivery.describe(about)
        self._outlets.model(about.model)
        if self._extras.page is not None:
            self._extras.page.describe(about.labels, about.model)
        self._lookout.problems.report("model", None)
        log.info("%s", self.describe())

    def _drain(self, stop: threading.Event) -> None:
        """Wait for the broker to have everything, in short turns, so that a signal still ends the wait."""
        deadline = self._clock.monotonic() + self._settings.delivery.drain_timeout
        while self._clock.monotonic() < deadline and not stop.is_set() and self._delivery.drain(TURN):
            self._lookout.turn()

    def _new_capture(self, patient: bool = False) -> Capture:
        """The source; a patient one waits for a missing camera, as whoever sent a command is not there to do."""
        return Capture(self._settings.camera, patient or self._systemd.present, self._openers.camera, self._clock)

    def _about(self) -> About:
        return About(self._watch.manifest.labels, self._watch.manifest.identity)
