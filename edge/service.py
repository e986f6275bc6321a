"""The supervisor: it starts the stages, looks after them and takes commands until it is told to stop.

Threads: capture and analysis (`Watch`), delivery, and this one. A stage that hangs is started anew; one that hangs again and
again ends the program, so that systemd begins with a fresh process.
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
from edge.delivery import About, Delivery, State, Stats
from edge.delivery.broker import read_password, tls_context
from edge.errors import DeliveryError, EmotionEdgeError, StageError, first_line
from edge.extras import open_extras, serve_metrics
from edge.faces import open_detector
from edge.health import Heartbeats, Systemd
from edge.health.meter import Meter, Reading
from edge.health.problems import Problems
from edge.health.restarts import Restarts
from edge.health.vitals import too_hot
from edge.outlets import Outlets
from edge.reload import Opened, Reload, open_named
from edge.update.open import open_updates
from edge.update.package import BRANCH as UPDATES
from edge.watch import OpenFaces, Watch
from edge.worker import TURN

log = logging.getLogger(__name__)

# The handler of the camera and the delivery turn every second by themselves; only a disk that is being worn out takes longer,
# and nothing but a new process can take over from them. Seconds.
PATIENCE = 20.0
# The board is asked for its temperature so often, seconds.
VITALS = 5.0
# A person at the page wants figures of this second, not of the last `stats`.
PAGE = 1.0


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
        opened = self._open_models(settings)
        self._settings, self._models = replace(settings, model=opened.settings), opened.models
        self._detector = self._openers.faces(settings.detector, self._capture.live)
        self._extras = open_extras(settings, state_dir, self._models.classifier.manifest)
        self._meter = Meter(clock)
        patient = max(settings.service.hang, PATIENCE)
        self._beats = Heartbeats({"analysis": settings.service.hang, "capture": patient, "delivery": patient}, clock)
        self._restarts, self._status = Restarts(clock), ""
        self._reloading: Reload | None = None
        self._vitals_at = self._shown_at = -VITALS

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
            DeliveryError: the outbox cannot be opened.
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
            log.info("%d frames, %d events delivered, %d waiting", self._meter.frames, self._delivery.counters.published, left)
        return left

    def _open_delivery(self) -> Delivery:
        # Mistakes in the settings stay mistakes; a disk that is full now, or an outbox that a killed predecessor still
        # holds, may be better in a moment: a service tries again.
        read_password(self._settings.mqtt)
        tls_context(self._settings.mqtt)
        try:
            return Delivery(self._settings, self._state_dir, replay=not self._capture.live)
        except DeliveryError as error:
            if self._systemd.present:
                raise StageError(str(error)) from None
            raise

    def _begin(self, stop: threading.Event) -> None:
        """Tie the stages together and start them, the source first: it is what fails most often."""
        delivery, capture = self._delivery, self._capture
        self._problems = Problems(delivery.alarm, self._clock)
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
        self._control = Control(
            delivery,
            self._state_dir / "paused",
            live=capture.live,
            pause=self._pause,
            resume=lambda: self._watch.resume(self._new_capture(patient=True)),
            reload=self._reload,
            figures=self._figures,
        )
        if not self._control.paused:
            capture.start(stop.is_set)
        log.info("%s", self.describe())
        self._outlets = Outlets(delivery, self._watch.state(), self._extras.snapshots, self._extras.page)
        self._outlets.condition(self._control.paused, ())
        self._extras.metrics = serve_metrics(self._settings, self._figures, patient=self._systemd.present)
        self._extras.start(patient=self._systemd.present)
        delivery.describe(self._about())
        if self._updates is not None:
            delivery.listen(UPDATES, self._updates.hear)
            self._updates.start(partial(delivery.tell, UPDATES))
        delivery.start()
        self._watch.begin(self._outlets, self._control.paused)
        self._systemd.ready("paused" if self._control.paused else "watching")

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
                self._restart(f"the analysis has failed ({first_line(worker.failure or RuntimeError('it has ended'))})")
            if reload.is_set() and self._reloading is None:
                reload.clear()
                self._reload(lambda _: None)
            self._control.turn()
            self._take_up_reload()
            self._take_up_update()
            self._look_after()

    def _look_after(self) -> None:
        """Hung stages, the watchdog, what is wrong, and statistics."""
        self._beat()
        hung = self._beats.hung()
        if "analysis" in hung:
            self._restart(f"the analysis has not moved for {self._settings.service.hang:g} s")
        elif hung:
            raise StageError(f"{hung[0]} has not moved for {PATIENCE:g} s and more; only a new process can help")
        elif self._systemd.hungry() and self._beats.all_moved():
            self._systemd.feed()
        self._tell_condition()
        if self._meter.due(self._settings.delivery.stats_interval):
            self._delivery.stats(self._meter.snapshot(self._reading()))
        now = self._clock.monotonic()
        if self._extras.page is not None and now - self._shown_at >= PAGE:
            self._shown_at = now
            self._extras.page.stats(self._meter.peek(self._reading()))
            self._extras.page.broker(self._delivery.connected)

    def _beat(self) -> None:
        """That this loop turns is shown by its being here; only the other threads can hang unseen."""
        self._beats.beat("delivery", self._delivery.beat)
        worker, capture = self._watch.worker, self._watch.capture
        if capture.fatal is not None:
            raise StageError(capture.fatal)
        if worker is None:
            self._beats.forget("analysis", "capture")
            return
        self._beats.beat("analysis", worker.beat)
        if capture.live:
            self._beats.beat("capture", capture.beat)

    def _restart(self, why: str) -> None:
        self._restarts.count(why)
        log.warning("%s; it is started anew", why)
        self._problems.report("stage", f"{why}; it was started anew")
        try:
            self._watch.restart()
        except EmotionEdgeError as error:
            raise StageError(f"{why}, and cannot be started anew ({first_line(error)})") from None

    def _tell_condition(self) -> None:
        capture, now = self._watch.capture, self._clock.monotonic()
        degraded = None if self._watch.paused else capture.degraded
        self._problems.report("camera", degraded)
        if self._restarts.long_ago:
            self._problems.report("stage", None)
        if now - self._vitals_at >= VITALS:
            self._vitals_at = now
            self._problems.report("temperature", too_hot())
        problems = {*self._problems.lasting, *self._delivery.problems}
        self._outlets.condition(self._control.paused, tuple(sorted(problems)))
        status = "paused" if self._control.paused else f"no camera: {degraded}" if degraded else "watching"
        if status != self._status:
            self._status = status
            self._systemd.status(status)

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
        self._reloading = Reload(self._reread, self._open_models, then)

    def _take_up_reload(self) -> None:
        if self._reloading is None or self._reloading.outcome is None:
            return
        reload, self._reloading = self._reloading, None
        if isinstance(reload.outcome, EmotionEdgeError):
            stays = f"{first_line(reload.outcome)}; {self._watch.manifest.identity} stays"
            log.warning("reload: %s", stays)
            self._problems.report("model", stays)
            reload.then(EmotionEdgeError(stays))
        elif reload.outcome is not None:
            self._use(reload.outcome)
            reload.then(None)

    def _take_up_update(self) -> None:
        """A model that came over MQTT begins its trial, or ends it badly. One change of models at a time."""
        if self._updates is not None and self._reloading is None:
            opened = self._updates.turn(self._restarts.total, watching=not self._watch.paused)
            if opened is not None:
                self._use(opened)

    def _open_models(self, settings: Settings) -> Opened:
        return open_named(settings) if self._updates is None else self._updates.open(settings)

    def _use(self, opened: Opened) -> None:
        self._models = opened.models
        self._watch.use(*opened)
        about = self._about()
        self._delivery.describe(about)
        self._outlets.model(about.model)
        if self._extras.page is not None:
            self._extras.page.describe(about.labels, about.model)
        self._problems.report("model", None)
        log.info("%s", self.describe())

    def _drain(self, stop: threading.Event) -> None:
        """Wait for the broker to have everything, in short turns, so that a signal still ends the wait."""
        deadline = self._clock.monotonic() + self._settings.delivery.drain_timeout
        while self._clock.monotonic() < deadline and not stop.is_set() and self._delivery.drain(TURN):
            self._look_after()

    def _new_capture(self, patient: bool = False) -> Capture:
        """The source; a patient one waits for a missing camera, as whoever sent a command is not there to do."""
        return Capture(self._settings.camera, patient or self._systemd.present, self._openers.camera, self._clock)

    def _about(self) -> About:
        return About(self._watch.manifest.labels, self._watch.manifest.identity)

    def _figures(self) -> tuple[Stats, State]:
        return self._meter.peek(self._reading()), self._outlets.state

    def _reading(self) -> Reading:
        return self._watch.reading(self._delivery.counters, self._restarts.total)
