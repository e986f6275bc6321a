"""From the outbox to the broker: what is sent when, what counts as delivered, and what is sent again."""

from __future__ import annotations

import logging

from edge.config import DeliverySettings
from edge.delivery.broker import Acknowledged, Connected, Lost
from edge.delivery.outbox import Outbox
from edge.delivery.session import Session
from edge.delivery.topics import Topics

log = logging.getLogger(__name__)


class Sender:
    """Order of a connection: the state, `online` once the state is acknowledged, and beside them the events, oldest first.

    A broker that is killed forgets what it has acknowledged but not yet handed on, and says so only sometimes (one that
    keeps its sessions on disk comes back with an old copy). So there is *doubt* after every connection that we did not end
    ourselves, after failed attempts, and when the broker has forgotten us. In doubt all that is held is sent again: at
    once, and once more `hold` seconds later, because the subscribers too have to find their way back.

    Attributes:
        state: newest state, encoded; set by any thread.
        stats: statistics to be sent once, encoded; set by any thread.
        published: events acknowledged for the first time.
    """

    def __init__(self, outbox: Outbox, session: Session, topics: Topics, settings: DeliverySettings) -> None:
        self.outbox, self._session, self._topics = outbox, session, topics
        self._hold, self._window = settings.hold, settings.window
        self.state: bytes | None = None
        self.stats: bytes | None = None
        self.published = 0
        self._in_flight: dict[int, int | str] = {}  # message id -> seq of an event, or another topic
        self._acknowledged: list[int] = []
        self._doubt_at: float | None = None
        self._goodbye_id: int | None = None
        self._replay_due = False
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
                    forgotten = self.outbox.known and not signal.session_present
                    if forgotten or self._session.troubled or (self.outbox.known and not self.outbox.clean):
                        self._doubt_at, self._replay_due = now, True
                case Acknowledged():
                    refusal = self._acknowledge(signal) or refusal
                case Lost():
                    self._reset(1)
        self._record(now)
        if refusal:
            self._session.give_up(refusal, now, self.outbox.waiting)
            self._reset(1)
        self._hold_or_forget(now)
        if self._session.connected:
            self.outbox.remember_session(clean=False)
            self._send()

    def renew(self, outbox: Outbox) -> None:
        """Go on with another outbox: the file of the old one was damaged."""
        self.outbox, self._after = outbox, 0
        self._acknowledged.clear()

    def say_goodbye(self, availability: bytes) -> None:
        """Announce the end; `goodbye_said` tells when the broker has it."""
        self._goodbye_id = self._publish(self._topics.availability, availability)

    @property
    def goodbye_said(self) -> bool:
        """Whether the broker has acknowledged what `say_goodbye` sent."""
        return self._goodbye_id is not None and self._goodbye_id not in self._in_flight

    def _reset(self, capacity: int) -> None:
        """A new connection: nothing of an older one counts."""
        self._in_flight.clear()
        self._capacity, self._after = capacity, 0
        self._state_sent: bytes | None = None
        self._goodbye_id = None
        self._state_there = self._online_sent = False

    def _acknowledge(self, signal: Acknowledged) -> str | None:
        """Returns what the broker has refused, if it has."""
        item = self._in_flight.pop(signal.mid, None)
        if signal.refusal:
            topic = self._topics.events if isinstance(item, int) else item
            return f"refused: {signal.refusal} to publish on {topic}; look at the broker's access rules"
        if isinstance(item, int):
            self._acknowledged.append(item)
        elif item == self._topics.state:
            self._state_there = True
        elif not self.outbox.waiting:
            self._session.settled()
        return None

    def _record(self, now: float) -> None:
        if self._acknowledged:
            self.published += self.outbox.acknowledged(self._acknowledged, now)
            self._acknowledged.clear()
            self._session.settled()

    def _hold_or_forget(self, now: float) -> None:
        doubt = self._doubt_at
        # In doubt, what was held at its beginning is needed for the second sending.
        self.outbox.purge((now if doubt is None else doubt) - self._hold)
        if not self._session.connected or doubt is None:
            return
        second = now >= doubt + self._hold
        if self._replay_due or second:
            count = self.outbox.replay_held()
            self._after, self._replay_due = 0, False
            if count:
                log.info("%d events are sent again: the broker may have lost them", count)
        if second:
            self._doubt_at = None

    def _send(self) -> None:
        state, stats = self.state, self.stats
        if state is not None and state != self._state_sent and self._room():
            self._publish(self._topics.state, state)
            self._state_sent = state
        if self._state_there and not self._online_sent and self._goodbye_id is None and self._room():
            self._publish(self._topics.availability, b"online")
            self._online_sent = True
        if stats is not None:
            self._session.publish(self._topics.stats, stats, qos=0, retain=False)
            self.stats = None
        room = self._room()
        if not room:
            return
        under_way = {item for item in self._in_flight.values() if isinstance(item, int)}
        # After a replay the search begins anew, and passes those that are still under way.
        for seq, payload in self.outbox.unsent(room + len(under_way), self._after):
            if seq not in under_way and self._room():
                mid = self._session.publish(self._topics.events, payload, qos=1, retain=False)
                self._in_flight[mid] = seq
                self._after = seq

    def _publish(self, topic: str, payload: bytes) -> int:
        mid = self._session.publish(topic, payload, qos=1, retain=True)
        self._in_flight[mid] = topic
        return mid

    def _room(self) -> int:
        return max(0, self._capacity - len(self._in_flight))
