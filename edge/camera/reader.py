"""One opening of a live camera: the thread in which everything happens that a driver may hold."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from edge.camera import Camera
from edge.clock import Clock
from edge.config import CameraSettings
from edge.errors import CameraError
from edge.types import Frame

log = logging.getLogger(__name__)


class Reader:
    """A thread that opens a camera, reads it until told to finish, and closes it: all three, so that nobody else ever waits.

    Attributes:
        moved: monotonic time of the last frame, of the opening, or of the beginning.
        opened: monotonic time at which the camera was open, or None.
        failure: what ended it, or None while it runs and when it was told to finish.
        ended: set when the camera is closed.
    """

    def __init__(
        self,
        settings: CameraSettings,
        opener: Callable[[CameraSettings], Camera],
        opened: Callable[[Reader, Camera], None],
        take: Callable[[Reader, Frame], None],
        clock: Clock,
    ) -> None:
        """Prepare.

        Args:
            settings: the source.
            opener: opens it.
            opened: told once, when it is open.
            take: gets every frame.
            clock: of `moved`.
        """
        self._settings, self._opener, self._tell_opened, self._take, self._clock = settings, opener, opened, take, clock
        self._finishing = threading.Event()
        self._camera: Camera | None = None
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self.moved = clock.monotonic()
        self.opened: float | None = None
        self.failure: Exception | None = None
        self.ended = threading.Event()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self) -> None:
        """End after the read that is under way."""
        self._finishing.set()

    def kill(self) -> None:
        """Make a read that blocks return, where the camera can do that."""
        camera = self._camera
        if camera is not None:
            camera.kill()

    def _run(self) -> None:
        try:
            self._camera = camera = self._opener(self._settings)
            try:
                # In this order: whoever sees that it is open must not take the beginning for its last frame.
                self.moved = self._clock.monotonic()
                self.opened = self.moved
                self._tell_opened(self, camera)
                self._read(camera)
            finally:
                camera.close()
        # A driver may raise anything; the handler decides what follows.
        except Exception as error:
            if not isinstance(error, CameraError):
                log.debug("the camera's reader has failed", exc_info=True)
            # Its traceback holds this thread's frames, and they hold this reader, the camera and the last picture: a circle of
            # a megabyte, which would stay until the collector looks for circles.
            error.__traceback__ = error.__context__ = error.__cause__ = None
            self.failure = error
        finally:
            self.ended.set()

    def _read(self, camera: Camera) -> None:
        while not self._finishing.is_set():
            frame = camera.read()
            self.moved = self._clock.monotonic()
            if frame is None:
                raise CameraError("the camera has ended its stream; it is opened again")
            self._take(self, frame)
