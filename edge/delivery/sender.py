"""From the outbox to the broker: what is sent when, what counts as delivered, and what is sent again."""

from __future__ import annotations

import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge.config import DeliverySettings
from edge.delivery.alarms import Alarms
from edge.delivery.broker import Acknowledged, Connected, Lost, Received, Subscribed
from edge.delivery.messages import Message, Messages
from edge.delivery.outbox import Outbox
from edge.delivery.session import Session
from edge.delivery.topics import Topics

# Replies that wait for the broker; the oldest go.
MAX_REPLIES = 100

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A message under way: its topic, and the events or what else it means when the broker has it."""

    topic: str
    seqs: tuple[int, ...] = ()
    alarm: int = 0


class Sender:
    """Order of a connection: the state, `online` once the state is acknowledged, and beside them the events, oldest first.

    A broker that is killed forgets what it has acknowledged but not yet handed on, and says so only sometimes (one that
    keeps its sessions on disk comes back with an old copy). So there is *doubt* after every connection that we did not end
    ourselves, after failed attempts, and when the broker has forgotten us. In doubt all that is held is sent again: at
    once, and once more `hold` seconds later, because the subscribers too have to find their way back. What was held when
    the connection broke stays held, for however long the broker is away.

    A broker may forbid a topic. Events that it does not take break the connection, wait and are tried again; anything else
    is told in the log, and the events go on.

    Args:
        listen: topics to subscribe to with every connection.
        hear: called with what arrives there.

    Attributes:
        state: newest state, encoded; set by any thread.
        stats: statistics to be sent once, encoded; set by any thread.
        discovery: sent after `online` in every connection and whenever it changes; set by any thread.
        replies: sent at the next chance; filled by any thread.
        published: events acknowledged for the first time.
    """

    def __init__(
        self,
        outbox: Outbox,
        session: Session,
        topics: Topics,
        settings: DeliverySettings,
        alarms: Alarms,
        listen: Sequence[str] = (),
        hear: Callable[[Received, float], None] = lambda _received, _now: None,
    ) -> None:
        self.outbox, self._session, self._topics = outbox, session, topics
        self._messages, self._alarms, self._listen, self._hear = Messages(topics, settings), alarms, listen, hear
        self._hold, self._window, self._batch = settings.hold, settings.window, settings.batch
        self._took_events = False
        self.state: bytes | None = None
        self.stats: bytes | None = None
        self.discovery: Message | None = None
        self.replies: deque[Message] = deque(maxlen=MAX_REPLIES)
        self.published = 0
        self._in_flight: dict[int, _Sent] = {}  # by message id
        self._acknowledged: list[int] = []
        self._doubt_at: float | None = None
        self._broken_at: float | None = outbox.broken_at
        self._replay_due = False
        self._refused: set[str] = set()
        self._described: Message | None = None
        self._goodbye_id: int | None = None
        self._reset(1)

    @property
    def in_doubt(self) -> bool:
        """Whether something is still to be sent again."""
        return self._doubt_at is not None

    def turn(self, now: float) -> None:
        """Take in what the broker has done, then send what there is room for.

        Raises:
            sqlite3.Error: the outbox cannot be written; the next turn does what this one could not.
        """
        refusal = None
        for signal in self._session.turn(now, self.outbox.waiting):
            match signal:
                case Connected():
                    self._reset(min(self._window, signal.receive_maximum))
                    if self._listen:
                        self._session.subscribe(self._listen)
                    forgotten = self.outbox.known and not signal.session_present
                    if forgotten or self._session.troubled or (self.outbox.known and not self.outbox.clean):
                        self._doubt_at, self._replay_due = now, True
                    else:
                        self._broken_at = None
                case Acknowledged():
                    refusal = self._acknowledge(signal, now) or refusal
                case Subscribed() if signal.refusal:
                    self._warn_once("subscribe to commands", signal.refusal)
                case Received():
                    self._hear(signal, now)
                case Lost():
                    self._suspect_size()
                    self._reset(1)
        if refusal:
            self._session.give_up(refusal, now, self.outbox.waiting)
            self._reset(1)
        try:
            self._record(now)
            self._hold_or_forget(now)
            if self._session.connected:
                self.outbox.remember_session(clean=False)
        except sqlite3.Error:
            # What needs no disk goes out all the same, the alarm about the disk first of all.
            if self._session.connected:
                self._send_others()
            raise
        if self._session.connected:
            self._send_others()
            self._send_events()

    def renew(self, outbox: Outbox) -> None:
        """Go on with another outbox: the file of the old one was damaged."""
        self.outbox, self._after = outbox, 0
        self._acknowledged.clear()
        # Numbers of the old one mean other events in the new one.
        self._in_flight = {mid: _Sent(sent.topic, alarm=sent.alarm) for mid, sent in self._in_flight.items()}

    def describe_again(self) -> None:
        """Home Assistant has started: it wants the description once more."""
        self._described = None

    def say_goodbye(self, availability: bytes) -> None:
        """Announce the end; `goodbye_said` tells when the broker has it."""
        self._goodbye_id = self._publish(self._messages.availability(availability))

    @property
    def goodbye_said(self) -> bool:
        """Whether the broker has acknowledged what `say_goodbye` sent."""
        return self._goodbye_id is not None and self._goodbye_id not in self._in_flight

    def _reset(self, capacity: int) -> None:
        """A new connection: nothing of an older one counts."""
        self._in_flight.clear()
        self._capacity, self._after, self._took_events = capacity, 0, False
        self._alarms.again(held=False)
        self._state_sent: bytes | None = None
        self._described = self._goodbye_id = None
        self._state_there = self._online_sent = False

    def _acknowledge(self, signal: Acknowledged, now: float) -> str | None:
        """Returns what the broker has refused, if these were events."""
        sent = self._in_flight.pop(signal.mid, None)
        if sent is None:
            return None
        if signal.refusal and sent.seqs:
            return f"refused: {signal.refusal} to publish on {sent.topic}; look at the broker's access rules"
        if signal.refusal:
            # The asker chooses where a reply goes; the log must not grow with what strangers invent.
            topic = f"{self._topics.replies}#" if sent.topic.startswith(self._topics.replies) else sent.topic
            self._warn_once(f"publish on {topic}", signal.refusal)
        if sent.seqs:
            self._took_events = True
            self._acknowledged.extend(sent.seqs)
            return None
        if sent.alarm:
            self._alarms.acknowledged(sent.alarm, now)
        if sent.topic == self._topics.state:
            self._state_there = not signal.refusal
        elif not self.outbox.waiting and not signal.refusal:
            self._session.settled()
        return None

    def _suspect_size(self) -> None:
        """A connection that broke over events before it took any: the batch may be larger than the broker's messages."""
        if self._batch > 1 and not self._took_events and any(sent.seqs for sent in self._in_flight.values()):
            self._batch = max(1, self._batch // 2)
            log.warning("the broker may not take messages of this size; from now on %d events at most in one", self._batch)

    def _warn_once(self, what: str, refusal: str) -> None:
        if what not in self._refused:
            self._refused.add(what)
            log.warning("the broker refuses to let us %s (%s); look at its access rules. Events go on", what, refusal)

    def _record(self, now: float) -> None:
        if self._acknowledged:
            self.published += self.outbox.acknowledged(self._acknowledged, now)
            self._acknowledged.clear()
            self._session.settled()

    def _hold_or_forget(self, now: float) -> None:
        doubt = self._doubt_at
        if self._broken_at is None and not self._session.connected:
            self._broken_at = now
        # In doubt, what was held when the connection broke is needed for the second sending.
        before = (now if self._broken_at is None else self._broken_at) - self._hold
        self.outbox.purge(before)
        self._alarms.purge(before)
        if not self._session.connected or doubt is None:
            return
        second = now >= doubt + self._hold
        if self._replay_due or second:
            count = self.outbox.replay_held()
            self._alarms.again(held=True)
            self._after, self._replay_due = 0, False
            if count:
                log.info("%d events are sent again: the broker may have lost them", count)
        if second:
            self._doubt_at = self._broken_at = None

    def _send_others(self) -> None:
        state, stats, discovery = self.state, self.stats, self.discovery
        if state is not None and state != self._state_sent and self._room():
            self._publish(self._messages.state(state))
            self._state_sent = state
        if self._state_there and not self._online_sent and self._goodbye_id is None and self._room():
            self._publish(self._messages.availability(b"online"))
            self._online_sent = True
        if discovery is not None and discovery is not self._described and self._room():
            self._publish(discovery)
            self._described = discovery
        if stats is not None:
            self._session.publish(self._messages.stats(stats))
            self.stats = None
        self._send_alarms()
        self._send_replies()

    def _send_alarms(self) -> None:
        for number, payload in self._alarms.unsent(self._room()):
            self._publish(self._messages.alarm(payload), alarm=number)
            self._alarms.sent(number)

    def _send_replies(self) -> None:
        # However many ask, events keep three quarters of the way.
        under_way = sum(sent.topic.startswith(self._topics.replies) for sent in self._in_flight.values())
        for _ in range(min(len(self.replies), self._room(), max(1, self._capacity // 4) - under_way)):
            self._publish(self.replies.popleft())

    def _send_events(self) -> None:
        room = self._room()
        if not room:
            return
        under_way = {seq for sent in self._in_flight.values() for seq in sent.seqs}
        # After a replay the search begins anew, and passes those that are still under way.
        rows = self.outbox.unsent(room * self._batch + len(under_way), self._after)
        rows = [row for row in rows if row[0] not in under_way][: room * self._batch]
        for start in range(0, len(rows), self._batch):
            seqs, payloads = zip(*rows[start : start + self._batch], strict=True)
            self._publish(self._messages.events(payloads), seqs=seqs)
            self._after = seqs[-1]

    def _publish(self, message: Message, seqs: tuple[int, ...] = (), alarm: int = 0) -> int:
        mid = self._session.publish(message)
        self._in_flight[mid] = _Sent(message.topic, seqs, alarm)
        return mid

    def _room(self) -> int:
        return max(0, self._capacity - len(self._in_flight))
