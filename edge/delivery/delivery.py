"""The one thread that owns outbox and MQTT session. The pipeline only drops things into its inbox and never waits."""

from __future__ import annotations

import logging
import select
import socket
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from edge.config import Settings
from edge.delivery.broker import read_password, tls_context
from edge.delivery.events import Counters, EventDraft, State, Stats, encode
from edge.delivery.outbox import Outbox
from edge.delivery.salvage import is_corrupt, open_outbox
from edge.delivery.sender import Sender
from edge.delivery.session import Backoff, Session
from edge.delivery.topics import device_name, topics
from edge.errors import DeliveryError

# Events kept in memory while the disk takes none: about 10 MB.
MEMORY_LIMIT = 10_000
# The thread turns at least this often: it purges, tries a full disk again and shows that it lives. Seconds.
TURN = 1.0
# A broker shall remember us longer than any hold (MQTT 5), seconds.
SESSION_EXPIRY = 3600
STOP_TIMEOUT = 4.0

log = logging.getLogger(__name__)


class Delivery:
    """Takes events, keeps them on disk, and brings them to the broker.

    `online` is published only after a state, so call `set_state` as soon as the pipeline stands.

    Args:
        settings: broker, bounds and hold.
        state_dir: folder of the outbox.
        replay: the source is a file: an outbox of its own, installation `replay`.
        backoff: pauses between attempts to connect.

    Attributes:
        beat: monotonic time of the thread's last turn, for a watchdog.

    Raises:
        DeliveryError: the outbox is in use or cannot be opened, or password or certificates cannot be read.
    """

    def __init__(self, settings: Settings, state_dir: Path, *, replay: bool, backoff: Backoff | None = None) -> None:
        read_password(settings.mqtt)
        tls_context(settings.mqtt)
        self._settings, self._folder, self._replay = settings.delivery, state_dir, replay
        self._outbox = self._open_outbox()
        self._waker, self._wakened = socket.socketpair()
        self._waker.setblocking(False)
        self._wakened.setblocking(False)
        names = topics(settings.mqtt)
        self._session = Session(
            settings.mqtt,
            client_id=f"emotion-edge-{device_name(settings.mqtt)}-{self._outbox.client}",
            will_topic=names.availability,
            session_expiry=max(SESSION_EXPIRY, int(2 * settings.delivery.hold)),
            backoff=backoff or Backoff(),
            wake=self._wake,
        )
        self._sender = Sender(self._outbox, self._session, names, settings.delivery)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._inbox: deque[EventDraft] = deque()
        self._lost_in_memory = 0
        self._storing, self._damaged, self._overflowing = True, False, False
        self._dropped_before = self._outbox.dropped
        self._stop_by: float | None = None
        self._clean = True
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)
        self.beat = time.monotonic()

    def start(self) -> None:
        """Begin to store and deliver."""
        self._thread.start()

    def put(self, drafts: Sequence[EventDraft]) -> None:
        """Hand over events, in order. Returns at once."""
        if drafts:
            with self._lock:
                self._inbox.extend(drafts)
            self._wake()

    def set_state(self, state: State) -> None:
        """Who is there now; published when it differs from what the broker has. Returns at once."""
        self._sender.state = encode(state)
        self._wake()

    def stats(self, stats: Stats) -> None:
        """Publish statistics at the next chance, the newest only; they are not kept. Returns at once."""
        self._sender.stats = encode(stats)
        self._wake()

    def track_name(self, number: int) -> str:
        """Number of a track in this run -> its name on the wire."""
        return self._outbox.track_name(number)

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and the connection stands."""
        return self._session.connected

    @property
    def counters(self) -> Counters:
        """Events waiting, published and dropped."""
        with self._lock:
            return self._count()

    def drain(self, timeout: float) -> int:
        """Wait until the broker has acknowledged everything.

        Returns:
            How many events it has not acknowledged when the time, in seconds, was up.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._count().waiting == 0, timeout)
            return self._count().waiting

    def stop(self, timeout: float = STOP_TIMEOUT, *, clean: bool = True) -> int:
        """Store what was handed over, deliver for half the time, say goodbye, disconnect. Can be called twice.

        Args:
            timeout: seconds for all of it.
            clean: availability becomes `stopped`; after a failure it is `offline`, as if the connection had broken.

        Returns:
            How many events are left; they are in the outbox, and the next run delivers them.
        """
        self._clean = clean
        self._stop_by = time.monotonic() + timeout
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(timeout + 1)
        elif self._waker.fileno() >= 0:
            self._store()
            self._close()
        return self.counters.waiting

    # From here on everything runs in the thread.

    def _run(self) -> None:
        while self._stop_by is None:
            self._turn()
        self._farewell(self._stop_by)
        self._close()

    def _wait(self, pause: float) -> None:
        deadline = self._session.deadline()
        timeout = pause if deadline is None else max(0.0, min(pause, deadline - time.monotonic()))
        poll = select.poll()
        poll.register(self._wakened, select.POLLIN)
        sock = self._session.socket()
        if sock is not None:
            poll.register(sock, select.POLLIN | (select.POLLOUT if self._session.wants_write() else 0))
        poll.poll(timeout * 1000)
        with suppress(BlockingIOError):
            while self._wakened.recv(4096):
                pass

    def _turn(self, pause: float = TURN) -> None:
        self.beat = time.monotonic()
        trouble: sqlite3.Error | None = None
        # The connection is kept alive even while nothing can be stored.
        for step in (partial(self._wait, pause), self._store, self._send):
            try:
                step()
            except sqlite3.Error as error:
                trouble = error
            except Exception:
                # A thread that dies would leave the events on disk unseen, so it goes on whatever it was.
                log.exception("delivery has stumbled and goes on")
                time.sleep(TURN)
        self._watch_disk(trouble)
        self._watch_bounds()
        with self._changed:
            self._changed.notify_all()

    def _store(self) -> None:
        if self._damaged:
            self._renew()
        with self._lock:
            drafts = list(self._inbox)
        if self._lost_in_memory:
            self._outbox.count_dropped(self._lost_in_memory)
            self._lost_in_memory = 0
        try:
            self._outbox.add(drafts)
        except sqlite3.Error:
            raise
        except Exception:
            # One that cannot be written as an event must not keep back all that come after it.
            log.exception("an event could not be written and is dropped")
            self._add_one_by_one(drafts)
        # Only now do they leave the inbox: between the two they count twice, never not at all.
        with self._lock:
            for _ in drafts:
                self._inbox.popleft()

    def _add_one_by_one(self, drafts: Sequence[EventDraft]) -> None:
        for draft in drafts:
            try:
                self._outbox.add([draft])
            except sqlite3.Error:
                raise
            except Exception:  # noqa: BLE001  told already, with its traceback
                self._outbox.count_dropped(1)

    def _send(self) -> None:
        self._sender.turn(time.monotonic())

    def _watch_disk(self, error: sqlite3.Error | None) -> None:
        if error is None:
            # Whatever could not be written is tried again in every turn, so a turn without an error is the end of it.
            if not self._storing:
                log.warning("%s: events are stored again", self._outbox.path)
            self._storing = True
            return
        self._damaged = self._damaged or is_corrupt(error)
        if self._storing:
            log.warning("%s: events cannot be stored (%s); they are kept in memory for now", self._outbox.path, error)
        self._storing = False
        with self._lock:
            while len(self._inbox) > MEMORY_LIMIT:
                self._inbox.popleft()
                self._lost_in_memory += 1

    def _renew(self) -> None:
        """The file was damaged while it was open: begin a new one."""
        self._outbox.close()
        try:
            self._outbox = self._open_outbox()
        except DeliveryError as error:
            raise sqlite3.OperationalError(str(error)) from None
        self._sender.renew(self._outbox)
        self._damaged = False

    def _watch_bounds(self) -> None:
        counters = self.counters
        if counters.waiting == 0:
            self._overflowing, self._dropped_before = False, counters.dropped
        elif counters.dropped > self._dropped_before and not self._overflowing:
            self._overflowing = True
            log.warning("%s is full: the oldest events are dropped, %d so far", self._outbox.path, counters.dropped)

    def _farewell(self, stop_by: float) -> None:
        start = time.monotonic()
        # The call that wakes us for this may have been heard by the turn before.
        self._turn(pause=0.0)
        while self.connected and self.counters.waiting and time.monotonic() < (start + stop_by) / 2:
            self._turn()
        if not self.connected:
            return
        self._sender.say_goodbye(b"stopped" if self._clean else b"offline")
        while self.connected and not self._sender.goodbye_said and time.monotonic() < stop_by:
            self._turn()
        if self._sender.goodbye_said:
            with suppress(sqlite3.Error):
                self._outbox.remember_session(clean=not self._sender.in_doubt)

    def _close(self) -> None:
        if self._inbox:
            log.error("%d events could not be stored and are lost", len(self._inbox))
        self._session.end()
        self._outbox.close()
        with self._lock:
            self._waker.close()
            self._wakened.close()
            self._changed.notify_all()

    def _count(self) -> Counters:
        return Counters(
            self._outbox.waiting + len(self._inbox), self._sender.published, self._outbox.dropped + self._lost_in_memory
        )

    def _open_outbox(self) -> Outbox:
        bounds = self._settings
        return open_outbox(self._folder, replay=self._replay, max_events=bounds.max_events, max_bytes=bounds.max_bytes)

    def _wake(self) -> None:
        # A full socket is as good as one byte more; a closed one has nobody left to wake.
        with suppress(OSError):
            self._waker.send(b"\0")
