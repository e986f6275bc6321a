"""From the inbox to the disk: events are stored whatever the disk does, and the alarm `storage` tells what it did."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from edge.config import DeliverySettings
from edge.delivery.alarms import Alarms
from edge.delivery.events import EventDraft, Problem
from edge.delivery.outbox import Outbox
from edge.delivery.salvage import is_corrupt, open_outbox
from edge.errors import DeliveryError

# Events kept in memory while the disk takes none: about 10 MB.
MEMORY_LIMIT = 10_000
SLICE = 500

log = logging.getLogger(__name__)


class Store:
    """The inbox that the pipeline fills, and the outbox behind it. `put`, the numbers and `problems` are for any thread.

    Attributes:
        outbox: becomes another one when its file is damaged.
        alarms: what was wrong with the storage, and whatever else others add.

    Raises:
        DeliveryError: the outbox is in use or cannot be opened.
    """

    def __init__(self, settings: DeliverySettings, folder: Path, replay: bool) -> None:
        self._settings, self._folder, self._replay = settings, folder, replay
        self._lock = threading.Lock()
        self._inbox: deque[EventDraft] = deque()
        self._taken: list[EventDraft] = []  # from the inbox, and not on disk yet
        self._lost_in_memory = 0
        self._storing, self._damaged = True, False
        self._wrong: set[str] = set()
        self.outbox = self._open()
        self.alarms = Alarms(self.outbox.installation)
        self._dropped_before = self.outbox.dropped
        self._tell_damage()

    @property
    def problems(self) -> frozenset[Problem]:
        """`storage` while something is wrong with it, else nothing."""
        return frozenset(("storage",)) if self._wrong else frozenset()

    @property
    def waiting(self) -> int:
        """Events that the broker has not acknowledged, wherever they are."""
        with self._lock:
            return int(self.outbox.waiting) + len(self._taken) + len(self._inbox)

    @property
    def dropped(self) -> int:
        """Events lost to the bounds, ever."""
        with self._lock:
            return self.outbox.dropped + self._lost_in_memory

    def put(self, drafts: Sequence[EventDraft]) -> None:
        """Hand over events, in order. Returns at once, and keeps no more than the outbox would."""
        with self._lock:
            self._inbox.extend(drafts)
            while len(self._inbox) > max(self._settings.max_events, MEMORY_LIMIT):
                self._inbox.popleft()
                self._lost_in_memory += 1

    def write(self) -> None:
        """Store what was handed over.

        Raises:
            sqlite3.Error: it could not be; it is kept, and the next turn tries again.
        """
        if self._damaged:
            self._renew()
        with self._lock:
            self._taken.extend(self._inbox)
            self._inbox.clear()
        if self._lost_in_memory:
            self._count_lost()
        try:
            # In slices: on a full disk each turn tries one and not all of them, and on a nearly full one some fit.
            while self._taken:
                self.outbox.add(self._taken[:SLICE])
                # Only now are they let go: between the two they count twice, never not at all.
                with self._lock:
                    del self._taken[:SLICE]
        except sqlite3.Error:
            raise
        except Exception:
            # One that cannot be written as an event must not keep back all that come after it.
            log.exception("an event could not be written and is dropped")
            self._add_one_by_one()

    def watch(self, error: sqlite3.Error | None, delivered: bool) -> None:
        """Judge the turn that has passed.

        Args:
            error: what SQLite has refused in it.
            delivered: the broker has everything.
        """
        self._watch_disk(error)
        dropped = self.dropped
        if dropped > self._dropped_before and "dropped" not in self._wrong:
            self._raise("dropped", f"{self.outbox.path} is full: the oldest events are dropped, {dropped} so far")
        self._dropped_before = dropped
        # What is lost stays lost; it is over when the broker has all that is left.
        over = {"disk"} if self._storing else set()
        over |= {"dropped", "damaged"} if delivered and self._storing else set()
        if self._wrong and self._wrong <= over:
            self.alarms.add("storage", False, "events are stored again, and none are dropped")
        self._wrong -= over

    def close(self) -> None:
        """Give up what could not be stored, and close the file."""
        if left := len(self._taken) + len(self._inbox):
            log.error("%d events could not be stored and are lost", left)
        self.outbox.close()

    def _raise(self, reason: str, text: str) -> None:
        log.warning("%s", text)
        self._wrong.add(reason)
        self.alarms.add("storage", True, text)

    def _watch_disk(self, error: sqlite3.Error | None) -> None:
        if error is None:
            # Whatever could not be written is tried again in every turn, so a turn without an error is the end of it.
            if not self._storing:
                log.warning("%s: events are stored again", self.outbox.path)
            self._storing = True
            return
        self._damaged = self._damaged or is_corrupt(error)
        if self._storing:
            self._raise("disk", f"{self.outbox.path}: events cannot be stored ({error}); they are kept in memory for now")
        self._storing = False
        with self._lock:
            excess = min(len(self._taken), len(self._taken) + len(self._inbox) - MEMORY_LIMIT)
            if excess > 0:
                del self._taken[:excess]
                self._lost_in_memory += excess

    def _count_lost(self) -> None:
        lost = self._lost_in_memory
        self.outbox.count_dropped(lost)
        with self._lock:
            self._lost_in_memory -= lost

    def _add_one_by_one(self) -> None:
        while self._taken:
            try:
                self.outbox.add(self._taken[:1])
            except sqlite3.Error:
                raise
            except Exception:  # noqa: BLE001  told already, with its traceback
                self.outbox.count_dropped(1)
            with self._lock:
                del self._taken[0]

    def _renew(self) -> None:
        """The file was damaged while it was open: begin a new one."""
        self.outbox.close()
        try:
            self.outbox = self._open()
        except DeliveryError as error:
            raise sqlite3.OperationalError(str(error)) from None
        self._damaged = False
        self._tell_damage()

    def _tell_damage(self) -> None:
        if self.outbox.set_aside is not None:
            self._raise(
                "damaged",
                f"{self.outbox.path} was damaged and is set aside as {self.outbox.set_aside}; "
                "the events in it that were not delivered are not sent",
            )

    def _open(self) -> Outbox:
        bounds = self._settings
        return open_outbox(self._folder, replay=self._replay, max_events=bounds.max_events, max_bytes=bounds.max_bytes)
