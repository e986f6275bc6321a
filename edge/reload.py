"""Other models while the old ones go on: opened by a thread of its own, because an engine may have to be built for minutes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from edge.config import ModelSettings, Settings
from edge.emotion.open import Models, open_models
from edge.errors import EmotionEdgeError, first_line


class Opened(NamedTuple):
    """What was asked for, and what was opened for it."""

    settings: ModelSettings
    models: Models


def open_named(settings: Settings) -> Opened:
    """Open the models that the settings name.

    Raises:
        EmotionEdgeError: as `open_models`.
    """
    return Opened(settings.model, open_models(settings.model, settings.tensorrt))


class Reload:
    """One attempt.

    Args:
        reread: the settings as they stand in the file now.
        open_models: opens what they ask for.
        then: told how it ended, by whoever takes the outcome up: None, or why the old models stay.
    """

    def __init__(
        self,
        reread: Callable[[], Settings],
        open_models: Callable[[Settings], Opened],
        then: Callable[[EmotionEdgeError | None], None],
    ) -> None:
        self._reread, self._open_models, self.then = reread, open_models, then
        self.outcome: Opened | EmotionEdgeError | None = None
        threading.Thread(target=self._run, name="reload", daemon=True).start()

    def _run(self) -> None:
        try:
            self.outcome = self._open_models(self._reread())
        except EmotionEdgeError as error:
            self.outcome = error
        except Exception as error:  # noqa: BLE001  nobody else would hear of it, and the old models are good
            self.outcome = EmotionEdgeError(f"the model cannot be loaded ({first_line(error)})")
