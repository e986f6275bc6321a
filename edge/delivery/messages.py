"""What goes out, message by message: topic, quality of service, retained or not, and what MQTT 5 can say beside the payload."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.config import DeliverySettings
from edge.delivery.topics import Topics

JSON = "application/json"


class Message(msgspec.Struct, frozen=True):
    """One message to be published.

    Attributes:
        schema: name and version of the payload's format, such as `event/1`; MQTT 5 alone carries it, as the user property
            `schema`, and with it the content type. None for what is not ours to version.
        expiry: the broker forgets it when it could not hand it on for so many seconds (MQTT 5); 0 is never.
        correlation: of the command that this answers (MQTT 5).
    """

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    schema: str | None = None
    expiry: int = 0
    correlation: bytes | None = None

    def properties(self) -> Properties:
        """What MQTT 5 sends along."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if self.schema is not None:
            properties.ContentType = JSON
            properties.UserProperty = ("schema", self.schema)
        if self.expiry:
            properties.MessageExpiryInterval = self.expiry
        if self.correlation is not None:
            properties.CorrelationData = self.correlation
        return properties


class Messages:
    """Makes the messages of one device; whether events go by the batch is decided here, for every one of them alike."""

    def __init__(self, topics: Topics, settings: DeliverySettings) -> None:
        self._topics, self._expiry = topics, settings.expiry
        self._batch = settings.batch > 1
        self._stats_expiry = max(1, round(2 * settings.stats_interval))

    def events(self, payloads: Sequence[bytes]) -> Message:
        """One event, or a batch of them."""
        if not self._batch:
            return Message(self._topics.events, payloads[0], schema="event/1", expiry=self._expiry)
        body = b'{"v":1,"events":[' + b",".join(payloads) + b"]}"
        return Message(self._topics.batch, body, schema="batch/1", expiry=self._expiry)

    def alarm(self, payload: bytes) -> Message:
        """Something is wrong, or over."""
        return Message(self._topics.alarms, payload, schema="alarm/1")

    def state(self, payload: bytes) -> Message:
        """Who is there now."""
        return Message(self._topics.state, payload, retain=True, schema="state/1")

    def stats(self, payload: bytes) -> Message:
        """How the device is doing; of no use when the next but one is due."""
        return Message(self._topics.stats, payload, qos=0, schema="stats/1", expiry=self._stats_expiry)

    def availability(self, word: bytes) -> Message:
        """`online`, `stopped` or `offline`."""
        return Message(self._topics.availability, word, retain=True)
