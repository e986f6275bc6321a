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
# Begins a reload; calls back when it is done, with None or why the old model stays.
Reloads = Callable[[Callable[[EmotionEdgeError | None], None]], None]
Figures = Callable[[], tuple[Stats, State]]


class Control:
    """Obeys commands, one after the other, and answers each.

    A pause is meant: it outlives a restart, as a mark in the state folder.
    """

    def __init__(
        self,
        delivery: Delivery,
        mark: Path,
        *,
        live: bool,
        paused: Callable[[], bool],
        pause: Action,
        resume: Action,
        reload: Reloads,
        figures: Figures,
        state: Callable[[], State],
    ) -> None:
        """Obey from the first `turn` on.

        Args:
            delivery: brings commands and takes replies.
            mark: the file that is there while paused.
            live: whether there is a camera to pause; a file is never paused.
            paused: whether it is.
            pause, resume: what does it; an `EmotionEdgeError` becomes the reply.
            reload: begins it; the reply waits for its end.
            figures: how the device is.
            state: who is there, without the work of the figures.
        """
        self._delivery, self._mark, self._live = delivery, mark, live
        self._paused, self._pause, self._resume, self._reload = paused, pause, resume, reload
        self._figures, self._state = figures, state

    def turn(self) -> None:
        """Obey one command, if any waits. One only: the watchdog has to be fed between two that take their time."""
        if self._delivery.commands.empty():
            return
        command = self._delivery.commands.get()
        try:
            result = self._obey(command)
        except EmotionEdgeError as error:
            self._refuse(command, error)
        except Exception:
            # Whatever it was: no command may end the program.
            log.exception("command %s has failed", command.verb)
            self._refuse(command, EmotionEdgeError("it has failed; the device's log says why"))
        else:
            if result is not None:
                self._delivery.reply(command, result)

    def set_paused(self, paused: bool) -> None:
        """Pause or go on.

        Raises:
            EmotionEdgeError: the source is a file, or the detector or model cannot be opened again.
        """
        if not self._live:
            raise EmotionEdgeError("the source is a file, which is replayed to its end; only a camera can be paused")
        if paused == self._paused():
            return
        if paused:
            self._pause()
        else:
            self._resume()
        done = "paused" if paused else "watching again"
        log.info(done)
        try:
            if paused:
                self._mark.touch(mode=0o600)
            else:
                self._mark.unlink(missing_ok=True)
        except OSError as error:
            raise EmotionEdgeError(f"{done}, but a restart will not remember it: {self._mark} ({error.strerror})") from None

    def _refuse(self, command: Command, error: EmotionEdgeError) -> None:
        log.warning("command %s: %s", command.verb, error)
        self._delivery.reply(command, error=str(error))

    def _obey(self, command: Command) -> dict[str, Any] | None:
        match command.verb:
            case "pause":
                self.set_paused(True)
            case "resume":
                self.set_paused(False)
            case "reload":
                self._reload(lambda error: self._refuse(command, error) if error else self._delivery.reply(command, self._told()))
                return None
            case "status":
                stats, state = self._figures()
                state = msgspec.structs.replace(state, paused=self._paused())
                return {"state": msgspec.to_builtins(state), "stats": msgspec.to_builtins(stats)}
        return self._told()

    def _told(self) -> dict[str, Any]:
        return {"paused": self._paused(), "model": self._state().model}
