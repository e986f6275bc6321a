"""A page to look at: emotions as a time line, rates and health, for this machine or whoever knows the token.

The analysis hands over each frame and never waits; everything else is done by the threads of those who look.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from importlib import resources

from edge.clock import SYSTEM, Clock
from edge.config import PreviewSettings
from edge.delivery.events import State, Stats
from edge.errors import ConfigError
from edge.preview.access import HTTP_PORT, Door, find_place, own_names, read_token
from edge.preview.feed import Faces, Feed
from edge.preview.pictures import Pictures
from edge.preview.server import File, Server
from edge.types import Frame

__all__ = ["Preview"]

log = logging.getLogger(__name__)

FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


class Preview:
    """The page and those who look at it.

    Args:
        settings: address, port, token and whether pictures may be shown.
        device: its name, as in the topics.
        labels: the model's classes.
        model: the model's identity.
        clock: tells how old frames and statistics are.

    Raises:
        ConfigError: the address does not exist, or the token is missing, unreadable or easily guessed.
    """

    def __init__(self, settings: PreviewSettings, device: str, labels: Sequence[str], model: str, clock: Clock = SYSTEM) -> None:
        self._settings = settings
        self._place = find_place(settings)
        self._token = read_token(settings, self._place)
        self._feed = Feed(device, labels, model, clock)
        self._pictures = Pictures(clock) if settings.pictures else None
        folder = resources.files(__package__)
        self._files = {path: File(kind, folder.joinpath(name).read_bytes()) for path, (name, kind) in FILES.items()}
        self._server: Server | None = None

    def start(self) -> None:
        """Serve the page, in threads of its own.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        messages = partial(self._feed.messages, pictures=self._pictures is not None)
        try:
            self._server = Server(self._place, self._settings.port, self._files, messages, self._pictures)
        except OSError as error:
            where = f"preview: {self._settings.address} port {self._settings.port} cannot be listened on ({error.strerror})"
            raise ConfigError([f"{where}; set another preview.port, or 0 for any free one"]) from None
        port = self._server.port
        self._server.start(Door(self._token, own_names(self._place, port), f"emotion_edge_{port}"))
        log.info("preview: %s%s", self.address, " (with /?token=… once)" if self._token else "")

    def stop(self) -> None:
        """End every conversation; within a second no thread and no socket is left."""
        if self._server is not None:
            self._server.stop()

    @property
    def address(self) -> str:
        """What to open in a browser, without the token."""
        port = self._server.port if self._server is not None else self._settings.port
        return f"http://{self._place.name}/" if port == HTTP_PORT else f"http://{self._place.name}:{port}/"

    def frame(self, frame: Frame, faces: Faces) -> None:
        """One frame is through, with every live track; called by the analysis for each, and never waits for anyone."""
        self._feed.frame(faces)
        if self._pictures is not None:
            self._pictures.offer(frame, faces)

    def forget(self) -> None:
        """Nothing is watched any more: the last picture is let go."""
        if self._pictures is not None:
            self._pictures.forget()

    def stats(self, stats: Stats) -> None:
        """The newest statistics; the more often they come, the fresher the page."""
        self._feed.stats(stats)

    def state(self, state: State) -> None:
        """The newest state: pause and problems."""
        self._feed.state(state)

    def broker(self, connected: bool) -> None:
        """Whether the broker has accepted us; without it the page does not speak of it."""
        self._feed.broker(connected)

    def describe(self, labels: Sequence[str], model: str) -> None:
        """Another model has taken over."""
        self._feed.describe(labels, model)
