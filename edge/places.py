"""Where things are kept on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from edge.config import Settings

SYSTEM_MODELS = Path("/var/lib/emotion-edge/models")
SYSTEM_CACHE = Path("/var/cache/emotion-edge")


def readable(folder: Path) -> bool:
    """Whether this user may look into a folder; the service's own is closed to others."""
    return os.access(folder, os.R_OK | os.X_OK)


def model_folders() -> tuple[Path, Path]:
    """The machine's folder, then the user's cache, which is where edge-fetch puts them (XDG base directory specification)."""
    return SYSTEM_MODELS, Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emotion-edge"


def secret_file(named: str | None, credential: str) -> Path | None:
    """The file of a secret: the one that is named, else the systemd credential, where there is one (systemd.exec(5))."""
    if named:
        return Path(named).expanduser()
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(credentials) / credential if credentials else None
    return path if path is not None and path.exists() else None


def state_folder(settings: Settings) -> Path:
    """Where the outbox lives: as set, else systemd's folder, else the user's (XDG base directory specification)."""
    if settings.service.state_dir:
        return Path(settings.service.state_dir).expanduser()
    if os.environ.get("STATE_DIRECTORY"):
        return Path(os.environ["STATE_DIRECTORY"].split(":")[0])
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "emotion-edge"
