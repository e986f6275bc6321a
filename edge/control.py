"""What the owner may ask of a running device: pause, resume, another model, how it is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edge.delivery import Command, Delivery, State, Stats
from edge.errors import EmotionEdgeError

log = logging.getLogger(__name__)

Action = Callable[[], None]
Figures = Callable[[], tuple[Stats, State]]


class Control:
    """Obeys commands, one after the other, and answers each.

    A pause is meant: it outlives a restart, as a mark in the state folder.
    """

    def __init__(
        self, delivery: Delivery, mark: Path, *, live: bool, pause: Action, resume: Action, reload: Action, figures: Figures
    ) -> None:
        """Take up the pause of an earlier run.

        Args:
            delivery: brings commands and takes replies.
            mark: the file that is there while paused.
            live: whether there is a camera to pause; a file is never paused.
            pause, resume, reload: what does it; an `EmotionEdgeError` becomes the reply.
            figures: how the device is.
        """
        self._delivery, self._mark, self._live = delivery, mark, live
        self._pause, self._resume, self._reload, self._figures = pause, resume, reload, figures
        self.paused = live and mark.exists()

    def turn(self) -> None:
        """Obey whatever has come in since the last turn."""
        while not self._delivery.commands.empty():
            command = self._delivery.commands.get()
            try:
                self._delivery.reply(command, self._obey(command))
            except EmotionEdgeError as error:
                log.warning("command %s: %s", command.verb, error)
                self._delivery.reply(command, error=str(error))

    def set_paused(self, paused: bool) -> None:
        """Pause or go on.

        Raises:
            EmotionEdgeError: the source is a file, or the camera cannot be opened again.
        """
        if not self._live:
            raise EmotionEdgeError("the source is a file, which is replayed to its end; only a camera can be paused")
        if paused == self.paused:
            return
        if paused:
            self._pause()
            self._mark.touch(mode=0o600)
        else:
            self._resume()
            self._mark.unlink(missing_ok=True)
        self.paused = paused
        log.info("paused" if paused else "watching again")

    def _obey(self, command: Command) -> dict[str, Any]:
        match command.verb:
            case "pause":
                self.set_paused(True)
            case "resume":
                self.set_paused(False)
            case "reload":
                self._reload()
            case "status":
                pass
        stats, state = self._figures()
        if command.verb == "status":
            return {"state": msgspec.to_builtins(state), "stats": msgspec.to_builtins(stats)}
        return {"paused": self.paused, "model": state.model}
