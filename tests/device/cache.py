"""What is expensive to make is made once and kept outside the repository, under the hash of what went into it."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emotion-edge" / "device"
# What a part took to make, seconds, beside it.
TOOK = "seconds"


def digest(parts: Iterable[str | bytes | Path]) -> str:
    """Of texts, bytes and the contents of files, in this order."""
    total = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode() if isinstance(part, str) else part
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()[:16]


def cached(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` has filled, at this time or an earlier one. Of each name only the newest is kept.

    Args:
        key: from `digest`, of everything that `make` rests on.
        make: fills an empty folder; when it fails nothing is kept.
    """
    place = FOLDER / f"{name}-{key}"
    if not place.is_dir():
        beside = FOLDER / f"{name}.new"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        begun = time.monotonic()
        make(beside)
        (beside / TOOK).write_text(f"{time.monotonic() - begun:.0f}")
        for old in FOLDER.glob(f"{name}-*"):
            shutil.rmtree(old)
        beside.rename(place)
    return place
