"""The analysis thread: takes frames, works them through, hands on what was seen. It can be left behind when it hangs."""

from __future__ import annotations

import threading

from edge.camera.capture import Capture
from edge.clock import SYSTEM, Clock
from edge.delivery import EventDraft, State
from edge.health.meter import Meter
from edge.outlets import Outlets
from edge.pipeline import Analysis

# How long the loop waits for a frame before it shows that it lives, seconds.
TURN = 0.25
STOP_SECONDS = 2.0


class Worker:
    """One thread over one analysis.

    Args:
        capture: where frames come from.
        analysis: what is done with them.
        outlets: where the result goes.
        meter: counts.
        silence: a live source without frames for so many seconds shows nobody.

    Attributes:
        beat: monotonic time at which it last moved.
        failure: what ended it, or None.
    """

    def __init__(
        self, capture: Capture, analysis: Analysis, outlets: Outlets, meter: Meter, silence: float, clock: Clock = SYSTEM
    ) -> None:
        self._capture, self._analysis, self._outlets, self._meter = capture, analysis, outlets, meter
        self._silence, self._clock = silence, clock
        self._leaving, self._heard = threading.Event(), True
        self._next: Analysis | None = None
        self._thread = threading.Thread(target=self._run, name="analysis", daemon=True)
        self.through = threading.Event()
        self.failure: Exception | None = None
        self.beat = clock.monotonic()

    @property
    def every(self) -> int:
        """Faces are looked for in every so-manieth frame at this moment."""
        return self._analysis.every

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def use(self, analysis: Analysis) -> None:
        """Go on with another analysis from the next frame on; the tracks of the old one end."""
        self._next = analysis

    def stop(self) -> bool:
        """End after the frame in work, and end every track; returns whether it has: a thread that hangs has not."""
        self._leaving.set()
        self._thread.join(STOP_SECONDS)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Whether the thread still runs, or hangs."""
        return self._thread.is_alive()

    def abandon(self) -> tuple[list[EventDraft], State]:
        """Leave a thread that hangs to itself: whatever it still says is not heard.

        Returns:
            The ends of its tracks, and who is there afterwards. It hangs in the detector or the model, never in what keeps
            the tracks, so these may be asked from another thread.
        """
        self._leaving.set()
        self._heard = False
        return self._analysis.end(), self._analysis.state()

    def _run(self) -> None:
        try:
            self._watch()
            self._tell(self._analysis.end())
        except Exception as error:  # noqa: BLE001  whatever it was: the supervisor decides, it may be one frame's fault
            self.failure = error
        finally:
            self.through.set()

    def _watch(self) -> None:
        last = self._clock.monotonic()
        while not self._leaving.is_set():
            self.beat = self._clock.monotonic()
            if self._next is not None:
                ended = self._analysis.end()
                self._analysis, self._next = self._next, None
                self._tell(ended)
            frame = self._capture.get(TURN)
            if frame is None:
                if self._capture.ended:
                    return
                # Without a camera nobody is seen: the state must not go on claiming it.
                if self._capture.live and self._clock.monotonic() - last > self._silence:
                    self._tell(self._analysis.end())
                continue
            last = began = self._clock.monotonic()
            seen = self._analysis.step(frame, self._capture.waiting)
            if self._heard:
                self._outlets.seen(frame, seen.faces, seen.drafts, seen.searched)
                self._tell(seen.drafts)
            # A replay's time is its own: only a live frame has an age.
            self._meter.frame(self._clock.monotonic() - (frame.time if self._capture.live else began))

    def _tell(self, drafts: list[EventDraft]) -> None:
        if drafts and self._heard:
            self._outlets.told(drafts, self._analysis.state())
