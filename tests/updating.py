"""A device as far as updates go: a real delivery, real slots and a real model, and a loop in the supervisor's place."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path

from brokers import HOST
from emitting import NOBODY, QUICK, settings_for
from msgspec.structs import replace

from converters.deploy.line import Place
from edge.config import UpdateSettings
from edge.delivery import Delivery
from edge.update.open import open_updates
from edge.update.package import BRANCH
from edge.update.slots import Pointer, Slots


class Device:
    """Runs from its making to `stop`.

    Attributes:
        restarts: stages started anew; one more, and a trial has failed.
    """

    def __init__(self, port: int, folder: Path, public: Path, *, healthy: float = 1.0, login: Path | None = None) -> None:
        mqtt = {"username": "cam", "password_file": str(login)} if login else {}
        settings = replace(settings_for(port, mqtt=mqtt), update=UpdateSettings(str(public), healthy))
        self.models, self.restarts = folder / "models", 0
        self._delivery = Delivery(settings, folder, replay=False, backoff=QUICK)
        updates = open_updates(settings.update, self.models)
        assert updates is not None
        self._updates, self._opened = updates, updates.open(settings)
        self._delivery.set_state(NOBODY)
        self._delivery.listen(BRANCH, updates.hear)
        updates.start(partial(self._delivery.tell, BRANCH))
        self._delivery.start()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def running(self) -> str:
        """The model that speaks."""
        return self._opened.models.classifier.manifest.version

    @property
    def pointer(self) -> Pointer:
        """What is on disk."""
        return Slots(self.models, self._updates._slots._key).pointer

    def _run(self) -> None:
        while not self._over.wait(0.01):
            self._opened = self._updates.turn(self.restarts, watching=True) or self._opened

    def stop(self) -> None:
        """End; the folder stays."""
        self._over.set()
        self._thread.join(10)
        self._updates.stop()
        self._delivery.stop()

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def place(port: int, **changes: str) -> Place:
    """Where the device is."""
    return Place(HOST, port, "emotion/cam", **changes)  # type: ignore[arg-type]


class During:
    """Does something once, as soon as so many chunks of a push are there."""

    def __init__(self, chunks: int, what: object) -> None:
        self._chunks, self._what, self.done = chunks, what, False

    def __call__(self, phase: str, there: int, _all: int) -> None:
        if phase == "receiving" and there >= self._chunks and not self.done:
            self.done = True
            self._what()  # type: ignore[operator]


def soon() -> None:
    """Give a thread that must do nothing the time to do it."""
    time.sleep(0.3)
