"""One connection to the broker of a device, for its updates: what is sent below `update/`, and what comes on `reply/update`."""

from __future__ import annotations

import queue
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge.errors import UpdateError, first_line
from edge.update.package import BRANCH, Progress

KEEPALIVE = 15
# For the connection, the greeting and the subscription, each, seconds.
TIMEOUT = 10.0


@dataclass(frozen=True)
class Place:
    """A device, and the broker that it is connected to.

    Attributes:
        base: what the device's topics begin with, `<prefix>/<device>`.
        tls: verifies the broker; None without encryption.
    """

    host: str
    port: int
    base: str
    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None


class _Reply(msgspec.Struct):
    result: Progress | None = None
    error: str | None = None


class Line:
    """Connected and subscribed when it is made; a new one is made when it is lost.

    MQTT 3.1.1: every broker speaks it, and nothing here needs more.

    Attributes:
        lost: the connection is gone.

    Raises:
        UpdateError: the broker cannot be reached, or does not want us.
    """

    def __init__(self, place: Place) -> None:
        self._place, self._replies = place, queue.SimpleQueue[_Reply]()
        self.lost = False
        self._ready, self._refusal = threading.Event(), ""
        where = f"broker {place.host}:{place.port}"
        client = paho.Client(CallbackAPIVersion.VERSION2, "", protocol=MQTTProtocolVersion.MQTTv311, reconnect_on_failure=False)
        client.connect_timeout = TIMEOUT
        if place.username is not None:
            client.username_pw_set(place.username, place.password)
        if place.tls is not None:
            client.tls_set_context(place.tls)
        client.on_connect, client.on_subscribe = self._connected, self._subscribed
        client.on_disconnect, client.on_message = self._disconnected, self._received
        self._client = client
        try:
            client.connect(place.host, place.port, KEEPALIVE)
        except ssl.SSLCertVerificationError as error:
            raise UpdateError(f"{where}: its certificate is refused: {error.verify_message}") from None
        except (OSError, ValueError) as error:
            raise UpdateError(f"{where}: cannot be reached ({first_line(error)})") from None
        client.loop_start()
        if not self._ready.wait(TIMEOUT) or self._refusal:
            self.close()
            raise UpdateError(f"{where}: {self._refusal or f'no answer within {TIMEOUT:.0f} s'}")

    def send(self, level: str, payload: bytes) -> None:
        """Send to `update/<level>`; what a lost connection swallows is noticed by the silence."""
        self._client.publish(f"{self._place.base}/{BRANCH}/{level}", payload, qos=0)

    def replies(self, wait: float) -> Iterator[tuple[Progress, str | None]]:
        """What the device has said; waits so many seconds for the first word."""
        try:
            reply = self._replies.get(timeout=wait)
            while True:
                if reply.result is not None:
                    yield reply.result, reply.error
                reply = self._replies.get_nowait()
        except queue.Empty:
            return

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connected(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._refusal = f"refused: {reason}"
            self._ready.set()
        else:
            client.subscribe(f"{self._place.base}/reply/{BRANCH}", qos=1)

    def _subscribed(self, _client: paho.Client, _data: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            self._refusal = f"this user may not read {self._place.base}/reply/{BRANCH}"
        self._ready.set()

    def _disconnected(self, *_: Any) -> None:
        self.lost = True
        if not self._ready.is_set():
            self._refusal = self._refusal or "the connection was closed"
            self._ready.set()

    def _received(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            self._replies.put(msgspec.json.decode(message.payload, type=_Reply))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # Not from a device of ours, or of a later version than can be understood.
            return
