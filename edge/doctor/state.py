"""Where the outbox of the examined edge-run lives."""

from __future__ import annotations

import os
from pathlib import Path

from edge import places
from edge.config import Settings
from edge.doctor.person import STATE, UNIT

ROOT = Path("/")


def state_folder(settings: Settings, root: Path = ROOT) -> Path:
    """As set, else systemd's where the service is installed, else the user's; as edge-run chooses it."""
    told = settings.service.state_dir or os.environ.get("STATE_DIRECTORY")
    return root / STATE if not told and (root / UNIT).is_file() else places.state_folder(settings)
