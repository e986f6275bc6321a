"""Looks after the stages, four times a second: hung ones, the watchdog, what is wrong, figures for whoever asks."""

from __future__ import annotations

import logging

from edge.clock import SYSTEM, Clock
from edge.config import Settings
from edge.delivery import Delivery, State, Stats
from edge.errors import EmotionEdgeError, StageError, first_line
from edge.extras import Extras
from edge.health import Heartbeats, Systemd
from edge.health.meter import Meter, Reading
from edge.health.problems import Problems
from edge.health.restarts import Restarts
from edge.health.vitals import too_hot
from edge.outlets import Outlets
from edge.watch import Watch

log = logging.getLogger(__name__)

# The handler of the camera and the delivery turn every second by themselves; only a disk that is being worn out takes longer,
# and nothing but a new process can take over from them. Seconds.
PATIENCE = 20.0
# The board is asked for its temperature so often, seconds.
VITALS = 5.0
# A person at the page wants figures of this second, not of the last `stats`.
PAGE = 1.0


class Lookout:
    """What the supervisor does in each of its turns. A stage that hangs is started anew; one that hangs again and again, or
    cannot be helped, is a `StageError`: systemd begins with a fresh process then.

    Args:
        settings: how long a stage may stand still, and how often figures are told.
        systemd: hears that everything moves, and what is wrong.
        watch, delivery: the stages.
        outlets, extras: who is told.
        meter: counts frames.

    Attributes:
        problems: what is wrong; others report theirs here too.
        restarts: of hung stages.
    """

    def __init__(
        self,
        settings: Settings,
        systemd: Systemd,
        watch: Watch,
        delivery: Delivery,
        outlets: Outlets,
        extras: Extras,
        meter: Meter,
        clock: Clock = SYSTEM,
    ) -> None:
        self._hang, self._interval = settings.service.hang, settings.delivery.stats_interval
        self._systemd, self._watch, self._delivery, self._outlets = systemd, watch, delivery, outlets
        self._extras, self._meter, self._clock = extras, meter, clock
        self.problems, self.restarts = Problems(delivery.alarm, clock), Restarts(clock)
        patient = max(self._hang, PATIENCE)
        self._beats = Heartbeats({"analysis": self._hang, "capture": patient, "delivery": patient}, clock)
        self._vitals_at = self._shown_at = -VITALS
        self._status = ""

    def turn(self) -> None:
        """Hung stages, the watchdog, what is wrong, and figures.

        Raises:
            StageError: only a new process can help.
        """
        self._beat()
        hung = self._beats.hung()
        if "analysis" in hung:
            self.restart(f"the analysis has not moved for {self._hang:g} s")
        elif hung:
            raise StageError(f"{hung[0]} has not moved for {PATIENCE:g} s and more; only a new process can help")
        elif self._systemd.hungry() and self._beats.all_moved():
            self._systemd.feed()
        self._tell_condition()
        if self._meter.due(self._interval):
            self._delivery.stats(self._meter.snapshot(self.reading()))
        now = self._clock.monotonic()
        if self._extras.page is not None and now - self._shown_at >= PAGE:
            self._shown_at = now
            self._extras.page.stats(self._meter.peek(self.reading()))
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

    def restart(self, why: str) -> None:
        """Start the analysis anew.

        Args:
            why: one clause.

        Raises:
            StageError: it was done too often, cannot be done, or would not help.
        """
        # Without its source the analysis ends too.
        if self._watch.capture.fatal is not None:
            raise StageError(self._watch.capture.fatal)
        self.restarts.count(why)
        log.warning("%s; it is started anew", why)
        self.problems.report("stage", f"{why}; it was started anew")
        try:
            self._watch.restart()
        except EmotionEdgeError as error:
            raise StageError(f"{why}, and cannot be started anew ({first_line(error)})") from None

    def _tell_condition(self) -> None:
        capture, now = self._watch.capture, self._clock.monotonic()
        degraded = None if self._watch.paused else capture.degraded
        self.problems.report("camera", degraded)
        if self.restarts.long_ago:
            self.problems.report("stage", None)
        if now - self._vitals_at >= VITALS:
            self._vitals_at = now
            self.problems.report("temperature", too_hot())
        self._outlets.condition(self._watch.paused, tuple(sorted(self.problems.lasting | self._delivery.problems)))
        status = "paused" if self._watch.paused else f"no camera: {degraded}" if degraded else "watching"
        if status != self._status:
            self._status = status
            self._systemd.status(status)

    def figures(self) -> tuple[Stats, State]:
        """How the device is, and who is there; for any thread."""
        return self._meter.peek(self.reading()), self._outlets.state

    def reading(self) -> Reading:
        """What the stages say of themselves."""
        return self._watch.reading(self._delivery.counters, self.restarts.total)
