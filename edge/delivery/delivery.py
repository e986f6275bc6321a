"""The one thread that owns outbox and MQTT session. The pipeline only drops things into its inbox and never waits."""

from __future__ import annotations

import logging
import queue
import select
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, get_args

import msgspec

from edge.config import Settings
from edge.delivery.broker import Received
from edge.delivery.commands import Command, Desk, make_reply, reply_to
from edge.delivery.discovery import BIRTH, About, birth_topic, discovery_payload, discovery_topic
from edge.delivery.events import Counters, EventDraft, Problem, State, Stats, encode
from edge.delivery.messages import Message
from edge.delivery.sender import Sender
from edge.delivery.session import Backoff, Session
from edge.delivery.store import Store
from edge.delivery.topics import device_name, topics
from edge.delivery.waker import Waker
from edge.login import read_password, tls_context

# The thread turns at least this often: it purges, tries a full disk again and shows that it lives. Seconds.
TURN = 1.0
# A broker shall remember us longer than any hold (MQTT 5), seconds.
SESSION_EXPIRY = 3600
STOP_TIMEOUT = 4.0

# Takes the last level of a topic, the payload, and whether it was retained.
Branch = Callable[[str, bytes, bool], None]

log = logging.getLogger(__name__)


class Delivery:
    """Takes events, keeps them on disk, and brings them to the broker; takes commands from there.

    `online` is published only after a state, so call `set_state` as soon as the pipeline stands.

    Args:
        settings: broker, bounds and hold.
        state_dir: folder of the outbox.
        replay: the source is a file: an outbox of its own, installation `replay`.
        backoff: pauses between attempts to connect.

    Attributes:
        beat: monotonic time of the thread's last turn, for a watchdog.
        commands: what others ask of the device, each checked; to be answered by `reply`.

    Raises:
        DeliveryError: the outbox is in use or cannot be opened, or password or certificates cannot be read.
    """

    def __init__(self, settings: Settings, state_dir: Path, *, replay: bool, backoff: Backoff | None = None) -> None:
        read_password(settings.mqtt)
        tls_context(settings.mqtt)
        self._settings = settings
        self._store = Store(settings.delivery, state_dir, replay)
        self._waker = Waker()
        names = topics(settings.mqtt)
        self._session = Session(
            settings.mqtt,
            client_id=f"emotion-edge-{device_name(settings.mqtt)}-{self._store.outbox.client}",
            will_topic=names.availability,
            session_expiry=max(SESSION_EXPIRY, int(2 * settings.delivery.hold)),
            backoff=backoff or Backoff(),
            wake=self._waker.wake,
        )
        self._desk = Desk(names)
        self.commands: queue.SimpleQueue[Command] = self._desk.commands
        self._birth = birth_topic(settings) if settings.homeassistant.discovery else None
        self._topics = names
        self._filters = [names.commands] + ([self._birth] if self._birth else [])
        self._branches: dict[str, Branch] = {}
        self._sender = Sender(
            self._store.outbox, self._session, names, settings.delivery, self._store.alarms, self._filters, hear=self._hear
        )
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._state: State | None = None
        self._problems_told: frozenset[Problem] = frozenset()
        self._stop_by: float | None = None
        self._clean = True
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)
        self.beat = time.monotonic()

    def listen(self, branch: str, hear: Branch) -> None:
        """Hear what others send to `<base>/<branch>/<level>` too; to be called before `start`.

        Args:
            hear: called in the delivery thread with level, payload, and whether it was retained; it must return at once.
        """
        self._branches[self._topics.branch(branch)] = hear
        self._filters.append(f"{self._topics.branch(branch)}+")

    def start(self) -> None:
        """Begin to store and deliver."""
        self._thread.start()

    def put(self, drafts: Sequence[EventDraft]) -> None:
        """Hand over events, in order. Returns at once."""
        if drafts:
            self._store.put(drafts)
            self._waker.wake()

    def set_state(self, state: State) -> None:
        """Who is there now; published when it differs from what the broker has. Returns at once.

        Delivery's own problems are added to those that the state names.
        """
        with self._lock:
            self._state = state
            self._tell_state()
        self._waker.wake()

    def stats(self, stats: Stats) -> None:
        """Publish statistics at the next chance, the newest only; they are not kept. Returns at once."""
        self._sender.stats = encode(stats)
        self._waker.wake()

    def alarm(self, problem: Problem, active: bool, text: str) -> None:
        """Say that something is wrong, or over. Returns at once.

        Alarms arrive in order, and after a time without a broker too; a process that ends takes what is left with it.

        Args:
            text: one sentence for a person.
        """
        self._store.alarms.add(problem, active, text)
        self._waker.wake()

    def reply(self, command: Command, result: dict[str, Any] | None = None, error: str | None = None) -> None:
        """Answer a command: done, with a result or without, or not done, with a sentence that says why. Returns at once."""
        self._sender.replies.append(reply_to(command, result, error))
        self._waker.wake()

    def tell(self, name: str, result: dict[str, Any], error: str | None = None) -> None:
        """Say on `reply/<name>` how something stands that goes on longer than one command. Returns at once."""
        self._sender.replies.append(make_reply(name, self._topics.replies + name, None, result, error))
        self._waker.wake()

    def describe(self, about: About) -> None:
        """What Home Assistant shall know of the model, where discovery is switched on. Returns at once."""
        if self._settings.homeassistant.discovery:
            payload = msgspec.json.encode(discovery_payload(self._settings, about))
            self._sender.discovery = Message(discovery_topic(self._settings), payload, retain=True)
            self._waker.wake()

    @property
    def problems(self) -> frozenset[Problem]:
        """What is wrong with the delivery itself at this moment: `storage`, or nothing."""
        return self._store.problems

    def track_name(self, number: int) -> str:
        """Number of a track in this run -> its name on the wire."""
        return self._store.outbox.track_name(number)

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and the connection stands."""
        return self._session.connected

    @property
    def counters(self) -> Counters:
        """Events waiting, published and dropped."""
        return Counters(self._store.waiting, self._sender.published, self._store.dropped)

    def drain(self, timeout: float) -> int:
        """Wait until the broker has acknowledged everything.

        Returns:
            How many events it has not acknowledged when the time, in seconds, was up.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._store.waiting == 0, timeout)
            return self._store.waiting

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
        self._waker.wake()
        if self._thread.ident is not None:
            self._thread.join(timeout + 1)
        elif self._waker.fileno() >= 0:
            self._store.write()
            self._close()
        return self._store.waiting

    # From here on everything runs in the thread.

    def _run(self) -> None:
        while self._stop_by is None:
            self._turn()
        try:
            self._farewell(self._stop_by)
        except Exception:
            log.exception("delivery could not say goodbye")
        finally:
            self._close()

    def _wait(self, pause: float) -> None:
        deadline = self._session.deadline()
        timeout = pause if deadline is None else max(0.0, min(pause, deadline - time.monotonic()))
        poll = select.poll()
        poll.register(self._waker, select.POLLIN)
        sock = self._session.socket()
        if sock is not None:
            poll.register(sock, select.POLLIN | (select.POLLOUT if self._session.wants_write() else 0))
        poll.poll(timeout * 1000)
        self._waker.rest()

    def _turn(self, pause: float = TURN) -> None:
        self.beat = time.monotonic()
        trouble: sqlite3.Error | None = None
        # The connection is kept alive even while nothing can be stored.
        for step in (partial(self._wait, pause), self._keep, self._send):
            try:
                step()
            except sqlite3.Error as error:
                trouble = error
            except Exception:
                # A thread that dies would leave the events on disk unseen, so it goes on whatever it was.
                log.exception("delivery has stumbled and goes on")
                time.sleep(TURN)
        self._store.watch(trouble, delivered=self.connected and self._store.waiting == 0)
        with self._changed:
            if self.problems != self._problems_told:
                self._tell_state()
            self._changed.notify_all()

    def _keep(self) -> None:
        self._store.write()
        if self._sender.outbox is not self._store.outbox:
            self._sender.renew(self._store.outbox)

    def _send(self) -> None:
        self._sender.turn(time.monotonic())

    def _tell_state(self) -> None:
        """Called with the lock held."""
        self._problems_told = self.problems
        if self._state is not None:
            wrong = self._problems_told.union(self._state.problems)
            ordered = tuple(problem for problem in get_args(Problem) if problem in wrong)
            self._sender.state = encode(msgspec.structs.replace(self._state, problems=ordered))

    def _hear(self, received: Received, now: float) -> None:
        if received.topic == self._birth:
            if received.payload == BIRTH:
                self._sender.describe_again()
        elif (hear := self._branches.get(received.topic.rpartition("/")[0] + "/")) is not None:
            hear(received.topic.rpartition("/")[2], received.payload, received.retain)
        elif (reply := self._desk.take(received, now)) is not None:
            self._sender.replies.append(reply)

    def _farewell(self, stop_by: float) -> None:
        start = time.monotonic()
        # The call that wakes us for this may have been heard by the turn before.
        self._turn(pause=0.0)
        while self.connected and self._unfinished() and time.monotonic() < (start + stop_by) / 2:
            self._turn()
        if not self.connected:
            return
        self._sender.say_goodbye(b"stopped" if self._clean else b"offline")
        while self.connected and not self._sender.goodbye_said and time.monotonic() < stop_by:
            self._turn()
        if self._sender.goodbye_said:
            with suppress(sqlite3.Error):
                self._store.outbox.remember_session(clean=not self._sender.in_doubt)

    def _unfinished(self) -> bool:
        return bool(self._store.waiting or self._store.alarms.waiting or self._sender.replies)

    def _close(self) -> None:
        self._session.end()
        self._store.close()
        with self._lock:
            self._waker.close()
            self._changed.notify_all()
