"""One MQTT session over many connections: back-off, choice of protocol, and what the broker has said since last asked.

Everything runs in the thread that calls `turn`; only opening a connection, which can block for as long as a name server
likes, has a thread of its own for each attempt. So a broker in a black hole keeps nobody from storing events or stopping.
"""

from __future__ import annotations

import logging
import random
import ssl
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho

from edge.config import MqttSettings
from edge.delivery.broker import (
    Connected,
    Lost,
    Protocol,
    Refused,
    Signal,
    describe,
    new_client,
    open_connection,
    subscribe,
)
from edge.delivery.messages import Message
from edge.errors import DeliveryError, first_line
from edge.login import broker_port

# 3.1.1 does for an hour what 5 would do, then 5 is tried again: the broker may have been updated, or it was only starting up.
TRY_5_AGAIN = 3600.0
# For the answer to CONNECT, seconds. amqtt stumbles over a will in MQTT 5 and says nothing at all, so 5 gets less.
ANSWER_TIMEOUT: dict[Protocol, float] = {"5": 3.0, "3.1.1": 5.0}
FAILURES_OF_3 = 3
# Connections in a row that broke before the broker had taken anything.
CUT_SHORT = 3

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between attempts: doubled each time up to a limit, each cut by a random part so that fleets spread out."""

    first: float = 1.0
    limit: float = 30.0

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row (from 1)."""
        whole = min(self.limit, self.first * 2.0 ** min(failures - 1, 30))
        return whole * random.uniform(0.5, 1.0)  # noqa: S311  # spreading, not secrecy


class Session:
    """The way to the broker.

    Args:
        client_id: the same for every connection.
        will_topic: where the broker says `offline` when we are lost; None for a client that nobody waits for.
        session_expiry: seconds for which a broker shall remember us (MQTT 5); with 0 no version remembers us.
        wake: called from another thread when `turn` has something to do.

    Attributes:
        connected: the broker has accepted us and the connection stands.
        trouble: why the last attempt or connection has failed; None before the first failure.
    """

    def __init__(
        self,
        settings: MqttSettings,
        client_id: str,
        will_topic: str | None,
        session_expiry: int,
        backoff: Backoff,
        wake: Callable[[], None],
    ) -> None:
        self._settings, self._client_id, self._will = settings, client_id, will_topic
        self._expiry, self._backoff, self._wake = session_expiry, backoff, wake
        self._where = f"broker {settings.host}:{broker_port(settings)}"
        self._client: paho.Client | None = None
        self._signals: deque[Signal] = deque()
        self._opened: deque[paho.Client | Exception] = deque()
        self._opening = self._ended = False
        self._answer_by: float | None = None
        self._protocol: Protocol = "5"
        self._fell_back_at, self._failures_of_3 = 0.0, 0
        self._cut_short, self._three_works = 0, False
        self._failures, self._retry_at = 0, 0.0
        self.connected = False
        self.trouble: str | None = None

    @property
    def troubled(self) -> bool:
        """Whether an attempt or a connection has failed since the broker last took what we sent."""
        return self._failures > 0

    def socket(self) -> Any:
        """The socket to wait on, None without one."""
        return self._client.socket() if self._client else None

    def wants_write(self) -> bool:
        """Whether bytes are waiting for the socket."""
        return self._client is not None and self._client.want_write()

    def deadline(self) -> float | None:
        """Monotonic time at which `turn` has to be called at the latest, None when only the network can bring news."""
        if self._answer_by is not None:
            return self._answer_by
        return None if self._client or self._opening or self._ended else self._retry_at

    def turn(self, now: float, waiting: int) -> list[Signal]:
        """Move bytes, start an attempt when one is due.

        Args:
            waiting: number of events that wait for the broker, for the log.

        Returns:
            What the broker has done since: `Connected`, `Acknowledged`, `Subscribed`, `Received` and `Lost` of the standing
            connection, in order.
        """
        if self._opened:
            self._take(self._opened.popleft(), now, waiting)
        if self._client:
            self._network(self._client, now, waiting)
        news: list[Signal] = []
        while self._signals:
            signal = self._signals.popleft()
            if self.connected:
                news.append(signal)
                if isinstance(signal, Lost):
                    self._cut_short += 1
                    self._fail(f"connection lost ({signal.reason})", now, waiting)
            elif self._answer_by is not None:
                self._greeted(signal, news, now, waiting)
        if self._answer_by is not None and now >= self._answer_by:
            self._greeted(Lost(f"silent for {ANSWER_TIMEOUT[self._protocol]:.0f} s"), news, now, waiting)
        if not (self._client or self._opening or self._ended) and now >= self._retry_at:
            self._open(now)
        return news

    def publish(self, message: Message) -> int:
        """Hand a message to the standing connection.

        Returns:
            Its message id, which `Acknowledged` will carry.
        """
        assert self._client is not None
        properties = message.properties() if self._protocol == "5" else None
        return self._client.publish(message.topic, message.payload, message.qos, message.retain, properties).mid

    def subscribe(self, topics: Sequence[str], retained: bool = False) -> int:
        """Ask for topics on the standing connection; returns the message id that `Subscribed` will carry."""
        assert self._client is not None
        return subscribe(self._client, self._protocol, topics, retained)

    def settled(self) -> None:
        """The broker takes what we send: the next failure begins with a short pause again."""
        self._failures = self._failures_of_3 = self._cut_short = 0

    def give_up(self, reason: str, now: float, waiting: int) -> None:
        """Break the connection without a word, so that the broker publishes the will, and try again later."""
        self._fail(reason, now, waiting)

    def end(self) -> None:
        """Say goodbye and connect no more."""
        self._ended = True
        if self._client and self.connected:
            self._client.disconnect()
        self._drop()

    def _open(self, now: float) -> None:
        if self._protocol == "3.1.1" and (now - self._fell_back_at > TRY_5_AGAIN or self._failures_of_3 >= FAILURES_OF_3):
            self._protocol, self._failures_of_3 = "5", 0
        self._signals = deque()
        self._opening = True
        threading.Thread(
            target=self._open_blocking, args=(self._protocol, self._signals.append), name="mqtt-connect", daemon=True
        ).start()

    def _open_blocking(self, protocol: Protocol, emit: Callable[[Signal], None]) -> None:
        try:
            # Something in our session at the broker may be what breaks each connection (paho takes U+FEFF for malformed, MQTT
            # does not): begin another one. Only commands that wait there are lost.
            fresh = self._cut_short >= CUT_SHORT
            remembered = self._expiry > 0 and not fresh
            client = new_client(self._settings, protocol, self._client_id, self._will, emit, remembered=remembered)
            open_connection(client, self._settings, protocol, self._expiry, fresh=fresh)
        except Exception as error:  # noqa: BLE001  # whatever it is, the attempt has failed and the next one follows
            self._opened.append(error)
        else:
            self._opened.append(client)
        self._wake()

    def _take(self, opened: paho.Client | Exception, now: float, waiting: int) -> None:
        self._opening = False
        if isinstance(opened, DeliveryError):
            self._fail(str(opened), now, waiting)
        elif isinstance(opened, Exception):
            self._fail(describe(opened, self._settings.tls), now, waiting)
        else:
            self._client, self._answer_by = opened, now + ANSWER_TIMEOUT[self._protocol]

    def _network(self, client: paho.Client, now: float, waiting: int) -> None:
        try:
            client.loop_read()
            # TLS may hold decrypted bytes that no select would tell of.
            while isinstance(sock := client.socket(), ssl.SSLSocket) and sock.pending():
                client.loop_read()
            if client.want_write():
                client.loop_write()
            client.loop_misc()
        except Exception as error:  # noqa: BLE001  # paho would stumble over the same bytes in every turn
            self._signals.clear()
            if self.connected:
                self._signals.append(Lost(f"what the broker sends cannot be read: {first_line(error)}"))
            else:
                self._fail(f"what the broker sends cannot be read: {first_line(error)}", now, waiting)

    def _greeted(self, signal: Signal, news: list[Signal], now: float, waiting: int) -> None:
        """The first word of the broker, or its silence."""
        match signal:
            case Connected():
                self._answer_by, self.connected = None, True
                self._three_works = self._three_works or self._protocol == "3.1.1"
                news.append(signal)
                log.info("%s: connected (MQTT %s), %d events waiting", self._where, self._protocol, waiting)
            case Lost() | Refused(version=True) if self._protocol == "5":
                log.info("%s: no MQTT 5 (%s), trying 3.1.1", self._where, signal.reason)
                self._drop()
                self._protocol, self._fell_back_at, self._retry_at = "3.1.1", now, now
            case Refused():
                self._fail(f"refused: {signal.reason}", now, waiting)
            case Lost():
                self._failures_of_3 += 1
                self._fail(f"no answer to CONNECT ({signal.reason})", now, waiting)

    def _fail(self, reason: str, now: float, waiting: int) -> None:
        self._drop()
        if not self._three_works:
            # Without this a broker that is only starting up, and hangs up on everybody, would leave us with 3.1.1 for its life.
            self._protocol = "5"
        self._failures += 1
        self.trouble = reason
        pause = self._backoff.pause(self._failures)
        self._retry_at = now + pause
        log.warning("%s: %s; trying again in %.1f s, %d events waiting", self._where, reason, pause, waiting)

    def _drop(self) -> None:
        self.connected, self._answer_by = False, None
        client, self._client = self._client, None
        sock = client.socket() if client else None
        if sock is not None:
            sock.close()
