"""Runs in the emulated board: tells the port `seen` which event is on disk for good, and goes on doing so.

The outbox belongs to the service alone, so what is read is a copy of its files. A commit can be read before it is synced; but the
service writes one after the other, so whatever a later commit has followed is synced. Nothing here syncs anything.
"""

import hashlib
import shutil
import sqlite3
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

OUTBOX = Path("/var/lib/emotion-edge/replay.db")
PORT = Path("/dev/virtio-ports/seen")
COPY = Path("/dev/shm/copy.db")


def events() -> dict[int, str]:
    """The sha256 of each event that is in it, by number: a number alone may be given again when an event was lost."""
    COPY.with_name("copy.db-shm").unlink(missing_ok=True)
    for end in ("", "-wal"):
        shutil.copyfile(f"{OUTBOX}{end}", f"{COPY}{end}")
    with closing(sqlite3.connect(COPY)) as db:
        return {seq: hashlib.sha256(payload).hexdigest() for seq, payload in db.execute("SELECT seq, payload FROM events")}


def main() -> None:
    before: dict[int, str] = {}
    told = None
    with PORT.open("wb", buffering=0) as port:
        while True:
            # While it is copied it may change, and be no database for a moment.
            with suppress(sqlite3.Error, OSError):
                now = events()
                if told is None:
                    # What was there already may have been delivered.
                    told = max(now, default=0)
                if max(now, default=0) > max(before, default=0):
                    for seq in sorted(seq for seq in before if seq > told):
                        port.write(f"{seq} {before[seq]}\n".encode())
                        told = seq
                    before = now
            time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
