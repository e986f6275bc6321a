"""Alarms on their way to the broker: kept in memory, because the disk may be what they are about."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass

from edge.clock import SYSTEM, Clock, rfc3339
from edge.delivery.events import Alarm, Problem, encode
from edge.delivery.outbox import new_name

# An alarm is some 250 bytes; a device that has more to say than this says the same thing over and over.
LIMIT = 1000

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Entry:
    number: int
    payload: bytes
    acked: float | None = None


class Alarms:
    """In order, each with one id however often it is sent. Like events they are held after the broker's acknowledgement.

    Any thread may add; all else is for the delivery thread.

    Args:
        installation: what the ids begin with.
    """

    def __init__(self, installation: str, clock: Clock = SYSTEM) -> None:
        # The numbers begin anew in each run, so a run has a name of its own in them.
        self._prefix, self._clock = f"{installation}-{new_name()}", clock
        self._lock = threading.Lock()
        self._entries: deque[_Entry] = deque()
        self._last = self._sent = 0
        self._overflowing = False

    def add(self, problem: Problem, active: bool, text: str) -> None:
        """Take one in; the oldest goes when there are too many."""
        with self._lock:
            self._last += 1
            alarm = Alarm(1, f"{self._prefix}-{self._last}", rfc3339(self._clock.time()), problem, active, text)
            self._entries.append(_Entry(self._last, encode(alarm)))
            if len(self._entries) > LIMIT:
                self._entries.popleft()
                if not self._overflowing:
                    log.warning("more than %d alarms wait for the broker: the oldest are dropped", LIMIT)
                self._overflowing = True

    @property
    def waiting(self) -> bool:
        """Whether the broker has not acknowledged one yet."""
        with self._lock:
            return any(entry.acked is None for entry in self._entries)

    def unsent(self, limit: int) -> list[tuple[int, bytes]]:
        """What has not been sent on this connection, as (number, payload), oldest first."""
        with self._lock:
            entries = [(e.number, e.payload) for e in self._entries if e.acked is None and e.number > self._sent]
        return entries[:limit]

    def sent(self, number: int) -> None:
        """It and all before it are under way."""
        self._sent = number

    def acknowledged(self, number: int, now: float) -> None:
        """The broker has it."""
        with self._lock:
            for entry in self._entries:
                if entry.number == number:
                    entry.acked = now

    def again(self, held: bool) -> None:
        """A new connection: what was under way is to be sent again; with `held` also what was acknowledged."""
        self._sent = 0
        if held:
            with self._lock:
                for entry in self._entries:
                    entry.acked = None

    def purge(self, before: float) -> None:
        """Forget what was acknowledged at or before a monotonic time."""
        with self._lock:
            kept = [entry for entry in self._entries if entry.acked is None or entry.acked > before]
            if len(kept) < len(self._entries):
                self._entries, self._overflowing = deque(kept), False
