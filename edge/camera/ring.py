"""Between the camera's thread and the analysis: a bounded ring, and the thread that fills it and owns every retry."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from edge.camera import Camera, is_live, open_camera
from edge.config import CameraSettings
from edge.types import Frame

log = logging.getLogger(__name__)

# Live frames are wanted young, not many: one in work, one waiting, and one for the scheduler's jitter.
CAPACITY = 3
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
STOP_SECONDS = 1.0


class Ring:
    """A bounded queue of frames between two threads."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._frames: deque[Frame] = deque()
        self._capacity = capacity
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0

    def put(self, frame: Frame, wait: bool) -> None:
        """Add a frame. When full: wait for room (a replay), or drop the oldest and count it (live)."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._closed or len(self._frames) < self._capacity)
            elif len(self._frames) == self._capacity:
                self._frames.popleft()
                self.dropped += 1
            self._frames.append(frame)
            self._changed.notify_all()

    def get(self, timeout: float) -> Frame | None:
        """The oldest frame, or None when there is none within `timeout` seconds or the ring is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._frames), timeout)
            frame = self._frames.popleft() if self._frames else None
            self._changed.notify_all()
            return frame

    def __len__(self) -> int:
        with self._changed:
            return len(self._frames)

    def close(self) -> None:
        """No more frames will come; those inside can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """Closed and taken to the last frame."""
        with self._changed:
            return self._closed and not self._frames


class Capture:
    """A thread that reads a camera into a ring, and opens a live one again whenever it fails.

    Attributes:
        dropped: frames that nobody took in time.
        captured: frames that the camera gave.
        degraded: why there are no frames now, or None while there are.
        failure: what ended a replay before its end, or None.
    """

    def __init__(
        self, settings: CameraSettings, service: bool = False, opener: Callable[[CameraSettings], Camera] = open_camera
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            settings: the source.
            service: nobody watches: a live camera that is missing at the start is waited for like one that fails later.
            opener: what opens it.
        """
        self._settings, self._service, self._opener = settings, service, opener
        self._ring, self._stopping = Ring(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._first: Camera | None = None
        self.live = is_live(settings.source)
        self.captured = 0
        self.degraded: str | None = None
        self.failure: Exception | None = None

    def start(self) -> None:
        """Open the source and begin to read it.

        Raises:
            CameraError: it cannot be opened, and it is a replay or this is no service.
        """
        if not (self.live and self._service):
            self._first = self._opener(self._settings)
        self._thread.start()

    def get(self, timeout: float) -> Frame | None:
        """The next frame, or None when none came within `timeout` seconds; then look at `ended`."""
        return self._ring.get(timeout)

    @property
    def ended(self) -> bool:
        """Whether no frame will ever come again: a replay is through, or `stop` was called."""
        return self._ring.ended

    @property
    def dropped(self) -> int:
        return self._ring.dropped

    @property
    def waiting(self) -> int:
        """Frames in the ring at this moment."""
        return len(self._ring)

    def stop(self) -> None:
        """End within about a second. A thread that a driver holds longer is left behind; it dies with the process."""
        self._stopping.set()
        self._ring.close()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        try:
            self._read_all()
        except Exception as error:  # noqa: BLE001  whatever it was: the main thread raises it, else it would look like the end
            self.failure = error
        finally:
            self._ring.close()

    def _read_all(self) -> None:
        delay = FIRST_DELAY
        while not self._stopping.is_set():
            opened: float | None = None
            try:
                camera = self._first or self._opener(self._settings)
                self._first, opened = None, time.monotonic()
                self._read_one(camera)
                return
            except Exception as error:
                # A driver may raise anything; on a board nobody is there to start a live source again.
                if not self.live:
                    raise
                # A camera that ran for a while is a new failure; one that opens and fails at once is still the old one.
                if opened is not None and time.monotonic() - opened > 2 * delay:
                    delay = FIRST_DELAY
                self.degraded = str(error) or type(error).__name__
                log.warning("%s; trying again in %.1f s", self.degraded, delay)
            # Jitter, so that many boards do not storm one network camera that comes back.
            self._stopping.wait(delay * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
            delay = min(2 * delay, LONGEST_DELAY)

    def _read_one(self, camera: Camera) -> None:
        """Read to the end of a replay, or until stopped; a live camera's failure is raised."""
        try:
            log.info("%s", camera.describe())
            while not self._stopping.is_set():
                frame = camera.read()
                if frame is None:
                    return
                self.degraded = None
                # A camera that was opened again counts from zero; the source's numbers go on.
                self._ring.put(replace(frame, number=self.captured) if camera.live else frame, wait=not camera.live)
                self.captured += 1
        finally:
            camera.close()
