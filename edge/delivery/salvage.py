"""Open the outbox, whatever state its file is in: a damaged one is set aside, and a fresh one takes over its numbers."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

from edge.delivery.outbox import Identity, Outbox, boot_id, new_name
from edge.errors import OutboxError

log = logging.getLogger(__name__)

REPLAY = "replay"
# How far a damaged file may be behind the last numbers given: its log holds about 1,000 pages of up to a few dozen events.
GAP = 100_000
# Damaged files that are kept for whoever wants to look into them.
KEPT = 2
# What a salvaged name may look like: ids and topics are made of it.
SANE_NAME = re.compile(r"[a-z0-9-]{1,32}")


def open_outbox(
    folder: Path, *, replay: bool, max_events: int, max_bytes: int, now: float | None = None, boot: str | None = None
) -> Outbox:
    """Open or create the outbox of a state folder.

    Args:
        folder: made with mode 0700 when it is missing.
        replay: file sources have an outbox of their own, whose installation is `replay`.
        now, boot: monotonic seconds and the machine's boot; tests give other ones.

    Raises:
        OutboxError: no permission, another process has it, or the disk does not take it.
        DeliveryError: a newer version wrote it.
    """
    path = folder / ("replay.db" if replay else "outbox.db")
    now = time.monotonic() if now is None else now
    boot = boot_id() if boot is None else boot
    identity = _fresh(replay)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _private(path)
        try:
            return Outbox(path, max_events, max_bytes, now, boot, identity)
        except sqlite3.DatabaseError as error:
            if not is_corrupt(error):
                raise
            aside = _set_aside(path)
        identity = _salvage(aside) or identity
        _private(path)
        outbox = Outbox(path, max_events, max_bytes, now, boot, identity)
        outbox.set_aside = aside.name
        return outbox
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise OutboxError(
                f"{path} is in use by another edge-run; stop it, or give this one its own service.state_dir"
            ) from None
        raise OutboxError(f"{path}: the outbox cannot be opened ({error}); look at the disk or set service.state_dir") from None
    except OSError as error:
        raise OutboxError(f"{path}: the outbox cannot be opened ({error.strerror}); set service.state_dir") from None


def is_corrupt(error: sqlite3.Error) -> bool:
    """Whether the file itself is damaged, as against locked, full or unreadable."""
    # Python 3.10 has no sqlite_errorcode; these are SQLite's own words for SQLITE_CORRUPT and SQLITE_NOTADB.
    return isinstance(error, sqlite3.DatabaseError) and bool(re.search("malformed|not a database", str(error)))


def _fresh(replay: bool) -> Identity:
    return Identity(installation=REPLAY, client=f"{REPLAY}-{new_name()}") if replay else Identity()


def _private(path: Path) -> None:
    # SQLite gives its log the mode of the database, so it is enough to create this one as nobody else's.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    if path.stat().st_uid == os.geteuid():
        path.chmod(0o600)


def _set_aside(path: Path) -> Path:
    """Rename a damaged database and its log; returns its new name."""
    for old in sorted(path.parent.glob(f"{path.name}.damaged-*[0-9]"))[: -(KEPT - 1)]:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{old}{suffix}").unlink(missing_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    aside = path.with_name(f"{path.name}.damaged-{stamp}-{time.time_ns() % 10**9:09d}")
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    log.warning("%s is damaged: set aside as %s, and a new outbox begins", path, aside.name)
    return aside


def _salvage(path: Path) -> Identity | None:
    """Names and numbers of a damaged file. All or nothing: an old name with new numbers would give ids a second time."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            meta = dict(db.execute("SELECT key, value FROM meta"))
            seq = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()[0]
            numbers = (int(seq), int(meta["tracks"]), int(meta["dropped"]))
            names = (meta["installation"], meta["client"])
            if not all(0 <= number < 2**53 for number in numbers) or not all(map(SANE_NAME.fullmatch, names)):
                return None
            return Identity(
                installation=meta["installation"],
                client=meta["client"],
                seq=int(seq) + GAP,
                tracks=int(meta["tracks"]) + GAP,
                dropped=int(meta["dropped"]),
            )
    except (sqlite3.Error, KeyError, ValueError, TypeError):
        return None
