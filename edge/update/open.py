"""Whether this device takes updates at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge.clock import SYSTEM, Clock
from edge.config import UpdateSettings

# Imported when it is asked for: a device that does without does not carry it.
if TYPE_CHECKING:
    from edge.update.updates import Updates


def open_updates(settings: UpdateSettings, folder: Path, clock: Clock = SYSTEM) -> Updates | None:
    """Prepare to take updates, if the settings name a key; nothing is written yet.

    Args:
        folder: where models are kept.

    Raises:
        UpdateError, RuntimeMissingError: see `Updates`.
    """
    if settings.key_file is None:
        return None
    from edge.update.updates import Updates

    return Updates(settings, folder, clock)
