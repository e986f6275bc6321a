"""The handler of a source: it fills the ring and owns every retry. Nothing else in the program opens a camera twice."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import replace

from edge.camera import Camera, is_live, is_stream, open_camera
from edge.camera.frozen import Sameness
from edge.camera.geometry import upright
from edge.camera.held import Held
from edge.camera.reader import Reader
from edge.camera.ring import Ring
from edge.clock import SYSTEM, Clock
from edge.config import CameraSettings
from edge.errors import CameraError, first_line
from edge.types import Frame

log = logging.getLogger(__name__)

# How often the handler looks up, seconds: a stall is noticed so much later at most.
TURN = 0.1
# Between two tries, seconds. The longest one, the longest opening and the start of a camera make the 8 s within which there are
# frames again after a camera has come back, however long it was away.
FIRST_DELAY, LONGEST_DELAY = 0.5, 2.0
# A camera that is not open by then never will be, seconds; a Jetson's takes 3, a stream may take `OPEN_TIMEOUT_MS`.
OPENING = 10.0
# A killed read returns at once, a V4L2 one by its own timeout of 2 s; after that the driver holds it, seconds.
RELEASE = 2.5
STOP_SECONDS = 1.2
# What fails after so many seconds of pictures is a new trouble, of which the log should hear. A loose plug is not.
STEADY = 60.0


class Capture:
    """A source that is read into a ring; a live one is opened again whenever it fails, stalls or freezes.

    A live camera is opened, read and closed by a thread of its own (`Reader`), because a driver may hold any of the three for
    ever; the handler's thread only looks at the clock. A replay needs no watchdog: the handler reads it itself.

    Attributes:
        live: whether frames go by unread.
        captured: frames that the source gave.
        degraded: why there are no frames now, or None while there are.
        failure: what ended a replay before its end, or None.
        beat: monotonic time at which the handler last moved; it moves whatever a live camera does.
        reopened: how often a live camera was opened again.
        description: what the open source is, with its real size and rate; None before.
        size: width and height in pixels as the source gives them, before rotation; None before the first frame.
        fatal: why only a new process can help (a driver holds too many of our threads), or None.
    """

    def __init__(
        self,
        settings: CameraSettings,
        service: bool = False,
        opener: Callable[[CameraSettings], Camera] = open_camera,
        clock: Clock = SYSTEM,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            settings: the source.
            service: nobody watches: a live camera that is missing at the start is waited for like one that fails later.
            opener: what opens it.
            clock: by which stalls and delays are judged.
        """
        self._settings, self._service, self._opener, self._clock = settings, service, opener, clock
        self._ring, self._stopping = Ring(), threading.Event()
        self._thread: threading.Thread | None = None
        # Guards everything that both a reader and the handler touch.
        self._lock = threading.Lock()
        self._reader: Reader | None = None
        self._held = Held(keeps_device=not is_stream(settings.source))
        self._sameness = Sameness(settings.frozen)
        # Whether the first opening has been decided, and how when it failed.
        self._decided = threading.Event()
        self._refused: Exception | None = None
        # The log hears of the same trouble only once: a camera may be away for weeks.
        self._blind_since, self._told = clock.monotonic(), ""
        self.live = is_live(settings.source)
        self.captured = self.reopened = 0
        self.degraded: str | None = None
        self.failure: Exception | None = None
        self.beat = clock.monotonic()
        self.description: str | None = None
        self.size: tuple[int, int] | None = None
        self.fatal: str | None = None

    def start(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Open the source and begin to read it.

        Args:
            stopped: asked while a live camera is being opened, which a driver or a name server may draw out.

        Raises:
            CameraError: it cannot be opened, and it is a replay or this is no service.
        """
        if self.live:
            self._begin(self._handle)
            if not self._service:
                while not self._decided.wait(TURN) and not stopped():
                    pass
                if self._refused is not None:
                    raise self._refused
        else:
            camera = self._opener(self._settings)
            self._begin(lambda: self._replay(camera))

    def get(self, timeout: float) -> Frame | None:
        """The next frame, or None when none came within `timeout` seconds; then look at `ended`."""
        return self._ring.get(timeout)

    @property
    def ended(self) -> bool:
        """Whether no frame will ever come again: a replay is through, or `stop` was called."""
        return self._ring.ended

    @property
    def dropped(self) -> int:
        """Frames that nobody took in time."""
        return self._ring.dropped

    @property
    def waiting(self) -> int:
        """Frames in the ring at this moment."""
        return len(self._ring)

    def stop(self) -> None:
        """End within about a second. A thread that a driver holds longer is left behind; it dies with the process."""
        self._stopping.set()
        self._ring.close()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def _begin(self, run: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                run()
            except Exception as error:  # noqa: BLE001  the main thread raises it, else it would look like the end
                self.failure = error
                if self.live:
                    self.fatal = f"the camera's handler has failed ({first_line(error)}); only a new process can help"
            finally:
                self._ring.close()
                self._decided.set()

        self._thread = threading.Thread(target=guarded, name="capture", daemon=True)
        self._thread.start()

    def _replay(self, camera: Camera) -> None:
        try:
            self.description = camera.describe()
            log.info("%s", self.description)
            while not self._stopping.is_set():
                frame = camera.read()
                if frame is None:
                    return
                self._measure(frame)
                image = upright(frame.image, self._settings.rotate, self._settings.flip)
                frame = frame if image is frame.image else replace(frame, image=image)
                while not self._ring.offer(frame, TURN) and not self._stopping.is_set():
                    self.beat = self._clock.monotonic()
                self.captured += 1
                self.beat = self._clock.monotonic()
        finally:
            camera.close()

    def _handle(self) -> None:
        """Open a live camera, look after it, and open it again, for as long as nobody says stop."""
        delay = FIRST_DELAY
        while not self._stopping.is_set():
            with self._lock:
                self._reader = reader = Reader(self._settings, self._opener, self._opened, self._take, self._clock)
            reader.start()
            why = self._follow(reader)
            if self._stopping.is_set():
                self._let_go(reader, polite=0.7, hard=0.3)
                return
            # Told at once: how long the driver then takes to let go is another matter.
            text = self._notice(why)
            self._let_go(reader, polite=0.0 if why is not None else 1.0, hard=RELEASE)
            # A camera that ran for a while is a new failure; one that opens and fails at once is still the old one.
            if reader.opened is not None and reader.moved - reader.opened > 2 * delay:
                delay = FIRST_DELAY
                if reader.moved - reader.opened > STEADY:
                    self._told = ""
            if not self._decided.is_set() and not self._service:
                self._refused = reader.failure or CameraError(why or "the camera gives no frames")
                return
            log.log(logging.DEBUG if text == self._told else logging.WARNING, "%s; trying again in %.1f s", text, delay)
            self._told = text
            self.fatal = self._held.fatal(self._clock.monotonic() - self._blind_since, text)
            # Jitter, so that many boards do not storm one network camera that comes back.
            self._pass(delay * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
            delay = min(2 * delay, LONGEST_DELAY)

    def _follow(self, reader: Reader) -> str | None:
        """Watch over a reader until it has to go.

        Returns:
            Why it gives no frames; None when it does, but always the same.
        """
        while not reader.ended.wait(TURN) and not self._stopping.is_set():
            opened = reader.opened
            now = self.beat = self._clock.monotonic()
            age = now - reader.moved
            if opened is None and age > max(OPENING, self._settings.stall):
                return f"the camera is not open after {age:.0f} s; check its cable and power"
            if opened is not None and age > self._settings.stall:
                return f"{self.description} has given no frame for {age:.1f} s; check its cable, power and network"
            with self._lock:
                if opened is not None and self._sameness.worth_opening_again(now):
                    return None
        return str(reader.failure or "") or type(reader.failure).__name__

    def _notice(self, why: str | None) -> str:
        """There are no frames now; returns the sentence that says so. The reader is not heard any more."""
        with self._lock:
            self._reader = None
            if self.degraded is None:
                self._blind_since = self._clock.monotonic()
            self.degraded = why or self._frozen_text()
            return self.degraded

    def _let_go(self, reader: Reader, polite: float, hard: float) -> None:
        """End a reader; one that a driver holds is left behind."""
        reader.finish()
        if not self._over(reader, polite):
            reader.kill()
            if not self._over(reader, hard):
                self._held.add(reader)

    def _over(self, reader: Reader, seconds: float) -> bool:
        # Counted in real turns: how long a driver needs is no age to be judged.
        for _ in range(round(seconds / TURN)):
            if reader.ended.wait(TURN):
                break
            self.beat = self._clock.monotonic()
        return reader.ended.is_set()

    def _pass(self, seconds: float) -> None:
        """Wait by the clock, and for ever when only a new process can help."""
        until = self._clock.monotonic() + seconds
        while not self._stopping.wait(min(TURN, seconds)) and (self.fatal or self._clock.monotonic() < until):
            self.beat = self._clock.monotonic()

    def _opened(self, reader: Reader, camera: Camera) -> None:
        """In the reader's thread: the camera is open."""
        description = camera.describe()
        with self._lock:
            if reader is not self._reader:
                return
            self.reopened += self.description is not None
            self.description = description
        self._decided.set()
        log.info("%s", description)

    def _take(self, reader: Reader, frame: Frame) -> None:
        """In the reader's thread: a frame."""
        with self._lock:
            # What a held driver gives back in the end is old.
            if reader is not self._reader:
                return
            self._measure(frame)
            self._sameness.look(frame.image, reader.moved)
            # A camera that is opened again counts from zero; the source's numbers go on.
            number, self.captured = self.captured, self.captured + 1
            if self._sameness.frozen:
                # Not handed on: the face in it may have left long ago, and must not be told as present for ever. Nothing is
                # lost by it, because a living face never gives the same picture for seconds.
                if self.degraded is None:
                    self._blind_since = reader.moved
                self.degraded = self._frozen_text()
                return
            self.degraded = None
            image = upright(frame.image, self._settings.rotate, self._settings.flip)
            self._ring.push(replace(frame, image=image, number=number))

    def _measure(self, frame: Frame) -> None:
        height, width = frame.image.shape[:2]
        if self.size != (width, height):
            if self.size is not None:
                log.info("the pictures are %dx%d from now on", width, height)
            self.size = width, height

    def _frozen_text(self) -> str:
        return (
            f"{self.description} has given the same picture for more than {self._settings.frozen:g} s; check its cable and "
            "power, or set camera.frozen to 0 when a still picture is what it shows"
        )
