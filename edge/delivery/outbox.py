"""Events on disk until the broker has them for good: SQLite, write-ahead log, every commit synced.

A row lives through: pending (to be sent) -> held (the broker has acknowledged it) -> purged (`hold` seconds later). A held
row becomes pending again when the broker may have forgotten what it took (`replay_held`).

The hold rests on the monotonic clock, which on Linux counts from boot for all processes alike. So a restart of ours
measures on, and a step of the wall clock changes nothing. After a reboot the old times mean nothing: what was held then
is held for one whole `hold` from the opening on, which costs duplicates and never an event.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edge.delivery.events import Event, EventDraft, encode, finish
from edge.errors import DeliveryError

log = logging.getLogger(__name__)

SCHEMA = 1
TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
-- AUTOINCREMENT: sqlite_sequence remembers the highest seq even when every row is gone.
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, payload BLOB NOT NULL, pending INTEGER NOT NULL DEFAULT 1, acked REAL
);
CREATE INDEX pending ON events (seq) WHERE pending = 1;
CREATE INDEX held ON events (acked) WHERE pending = 0;
"""
# No 0, 1, i, l, o: a person reads these names aloud. 31^6 names: of 1,000 installations two agree with a chance of 0.06 %.
LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
DROP_BATCH = 100
# Where a database says by which rules it is written and read, and the rules that there are (sqlite.org/fileformat2.html, 1.3.3).
FORMATS, KNOWN_FORMATS = slice(18, 20), {1, 2}


def new_name() -> str:
    """A short random name."""
    return "".join(secrets.choice(LETTERS) for _ in range(6))


@dataclass(frozen=True)
class Identity:
    """What a new file begins with, and what outlives a damaged one.

    Attributes:
        installation: prefix of ids and track names.
        client: what tells this outbox's MQTT session from all others.
        seq, tracks: the last numbers given.
        dropped: events lost, ever.
    """

    installation: str = field(default_factory=new_name)
    client: str = field(default_factory=new_name)
    seq: int = 0
    tracks: int = 0
    dropped: int = 0


def _check_format(path: Path) -> None:
    """A later format is one that SQLite opens, and writes nothing to: here, damage.

    Before SQLite opens it: to close a file is to lose all locks that this process has on it.
    """
    with path.open("rb") as file:
        if not set(file.read(FORMATS.stop)[FORMATS]) <= KNOWN_FORMATS:
            raise sqlite3.DatabaseError("database disk image is malformed")


class Outbox:
    """One open database; `edge.delivery.salvage.open_outbox` opens it. For one thread at a time; a second process is refused.

    Attributes:
        installation, client: see `Identity`.
        known: whether a broker has ever had a session with it.
        clean: whether the last session was ended by us, with nothing in doubt.
        broken_at: monotonic time at which the last session broke at the earliest; None when it was ended.
        waiting: pending events.
        dropped: events lost to the bounds, ever.
        set_aside: name of the damaged file that this one took over from; None without.
    """

    set_aside: str | None = None

    def __init__(
        self, path: Path, max_events: int, max_bytes: int, now: float, boot: str, identity: Identity | None = None
    ) -> None:
        self.path, self._max_events, self._max_bytes = path, max_events, max_bytes
        _check_format(path)
        # Exclusive: the file lock is held as long as the connection lives, so a second process is refused at its start.
        self._db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("COMMIT")
            self._prepare(identity or Identity())
            self._load(now, boot)
        except (ValueError, TypeError, KeyError):
            # Text that is no UTF-8, a word where a number was: damage that SQLite itself does not see.
            self._db.close()
            raise sqlite3.DatabaseError("database disk image is malformed") from None
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, identity: Identity) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            raise DeliveryError(f"{self.path} was written by a newer emotion-edge; update this one, or move the file away")
        if self._db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("database disk image is malformed")
        if version == 0:
            with self._transaction():
                for statement in TABLES.split(";"):
                    self._db.execute(statement)
                for key in ("installation", "client", "tracks", "dropped"):
                    self._set(key, str(getattr(identity, key)))
                self._db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ?)", (identity.seq,))
                self._db.execute(f"PRAGMA user_version = {SCHEMA}")

    def _load(self, now: float, boot: str) -> None:
        if self._get("boot") != boot or not boot:
            try:
                with self._transaction():
                    self._db.execute("UPDATE events SET acked = ? WHERE acked IS NOT NULL", (now,))
                    self._set("boot", boot)
            except sqlite3.OperationalError as error:
                # A disk that is full at boot must not keep the device from watching; what was held is held by old times.
                log.warning("%s: cannot be written at the start (%s)", self.path, error)
        self.installation, self.client = self._get("installation"), self._get("client")
        self.known, self.clean = self._get("known") == "1", self._get("clean") == "1"
        self.dropped, self._tracks = int(self._get("dropped")), int(self._get("tracks"))
        self._track_base = self._tracks
        self._seq: int = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()[0]
        # The connection broke, at the latest when the last event was acknowledged: what was held then stays held.
        last = self._db.execute("SELECT max(acked) FROM events").fetchone()[0]
        self.broken_at: float | None = last if self.known and not self.clean else None
        self._rows, self._bytes, self.waiting = self._db.execute(
            "SELECT count(*), coalesce(sum(length(payload)), 0), coalesce(sum(pending), 0) FROM events"
        ).fetchone()

    def track_name(self, number: int) -> str:
        """Number of a track in this run -> its name, which no other run uses."""
        return f"{self.installation}-{self._track_base + number}"

    def add(self, drafts: Sequence[EventDraft]) -> list[Event]:
        """Store drafts in one transaction, and drop the oldest events when there are too many.

        Raises:
            sqlite3.Error: nothing was stored.
        """
        events = [
            finish(draft, self._seq + i, self.installation, self._track_base + draft.track) for i, draft in enumerate(drafts, 1)
        ]
        if not events:
            return events
        payloads = [encode(event) for event in events]
        tracks = max(self._tracks, self._track_base + max(draft.track for draft in drafts))
        rows, size, waiting, dropped = self._rows + len(events), self._bytes, self.waiting + len(events), self.dropped
        size += sum(map(len, payloads))
        with self._transaction():
            rows_in = [(event.seq, payload) for event, payload in zip(events, payloads, strict=True)]
            self._db.executemany("INSERT INTO events (seq, payload) VALUES (?, ?)", rows_in)
            if tracks > self._tracks:
                self._set("tracks", str(tracks))
            while rows > self._max_events or size > self._max_bytes:
                for seq, length, pending in self._oldest():
                    if rows <= self._max_events and size <= self._max_bytes:
                        break
                    self._db.execute("DELETE FROM events WHERE seq = ?", (seq,))
                    rows, size, waiting, dropped = rows - 1, size - length, waiting - pending, dropped + pending
            if dropped > self.dropped:
                self._set("dropped", str(dropped))
        self._rows, self._bytes, self.waiting, self.dropped, self._tracks = rows, size, waiting, dropped, tracks
        self._seq = events[-1].seq
        return events

    def count_dropped(self, number: int) -> None:
        """Count events that were lost before they could be stored."""
        with self._transaction():
            self._set("dropped", str(self.dropped + number))
        self.dropped += number

    def unsent(self, limit: int, after: int = 0) -> list[tuple[int, bytes]]:
        """Pending events as (seq, payload) with a seq above `after`, oldest first."""
        query = "SELECT seq, payload FROM events WHERE pending = 1 AND seq > ? ORDER BY seq LIMIT ?"
        return self._db.execute(query, (after, limit)).fetchall()

    def acknowledged(self, seqs: Iterable[int], now: float) -> int:
        """The broker has these: hold them from their first acknowledgement on.

        Returns:
            How many were acknowledged for the first time.
        """
        keys = [(seq,) for seq in seqs]
        if not keys:
            return 0
        stamped = [(now, seq) for (seq,) in keys]
        with self._transaction():
            again = self._db.executemany(
                "UPDATE events SET pending = 0 WHERE seq = ? AND pending = 1 AND acked IS NOT NULL", keys
            ).rowcount
            first = self._db.executemany(
                "UPDATE events SET pending = 0, acked = ? WHERE seq = ? AND pending = 1 AND acked IS NULL", stamped
            ).rowcount
        self.waiting -= again + first
        return first

    def replay_held(self) -> int:
        """Everything that is held is to be sent again; returns how much."""
        with self._transaction():
            count = self._db.execute("UPDATE events SET pending = 1 WHERE pending = 0").rowcount
        self.waiting += count
        return count

    def purge(self, before: float) -> int:
        """Forget held events that were first acknowledged at or before a monotonic time; returns how many."""
        where = "FROM events WHERE pending = 0 AND acked <= ?"
        count, size = self._db.execute(f"SELECT count(*), coalesce(sum(length(payload)), 0) {where}", (before,)).fetchone()
        if count:
            with self._transaction():
                self._db.execute(f"DELETE {where}", (before,))
            self._rows, self._bytes = self._rows - count, self._bytes - size
        return int(count)

    def remember_session(self, clean: bool) -> None:
        """Note that a broker knows us, and whether the session ended without doubt."""
        if self.known and self.clean == clean:
            return
        with self._transaction():
            self._set("known", "1")
            self._set("clean", "1" if clean else "0")
        self.known, self.clean = True, clean

    def close(self) -> None:
        """Close the file and let others have it."""
        self._db.close()

    def _oldest(self) -> list[tuple[int, int, int]]:
        query = "SELECT seq, length(payload), pending FROM events ORDER BY seq LIMIT ?"
        return self._db.execute(query, (DROP_BATCH,)).fetchall()

    def _get(self, key: str) -> str:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else ""

    def _set(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # SQLite has rolled back by itself after some errors (disk full among them).
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise


def boot_id() -> str:
    """What tells this boot of the machine from every other; empty where the kernel does not say."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""
