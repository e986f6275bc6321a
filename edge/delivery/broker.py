"""How to reach the broker: one paho client for one attempt, and what went wrong in one line."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.config import MqttSettings
from edge.login import broker_port, read_password, tls_context

Protocol = Literal["5", "3.1.1"]

CONNECT_TIMEOUT = 5.0
# With MQTT 5 a broker keeps from us what is larger: nobody may fill a small board's memory. Bytes.
LARGEST_PACKET = 64 * 1024


class Connected(msgspec.Struct, frozen=True):
    """CONNACK: the broker has accepted us.

    Attributes:
        session_present: whether it remembers us.
        receive_maximum: how many unacknowledged QoS 1 messages it takes.
    """

    session_present: bool
    receive_maximum: int


class Refused(msgspec.Struct, frozen=True):
    """CONNACK: the broker does not want us, or not in this version of the protocol."""

    reason: str
    version: bool


class Acknowledged(msgspec.Struct, frozen=True):
    """PUBACK of a message; `refusal` is the broker's reason where it did not take it (MQTT 5 alone can say so)."""

    mid: int
    refusal: str | None


class Subscribed(msgspec.Struct, frozen=True):
    """SUBACK; `refusal` is the broker's first reason where it did not take every topic."""

    mid: int
    refusal: str | None


class Received(msgspec.Struct, frozen=True):
    """A message on a topic that we have subscribed to.

    Attributes:
        retain: with MQTT 5 as it was published; with 3.1.1 only what was there before we subscribed.
        response, correlation: where the reply shall go and what it shall carry (MQTT 5).
    """

    topic: str
    payload: bytes
    retain: bool = False
    response: str | None = None
    correlation: bytes | None = None


class Lost(msgspec.Struct, frozen=True):
    """The connection is gone."""

    reason: str


Signal = Connected | Refused | Acknowledged | Subscribed | Received | Lost


def new_client(
    settings: MqttSettings,
    protocol: Protocol,
    client_id: str,
    will_topic: str | None,
    emit: Callable[[Signal], None],
    *,
    remembered: bool = True,
) -> paho.Client:
    """A client for one connection attempt. Its callbacks do nothing but emit.

    Every attempt has a fresh client, so that paho's own redelivery never mixes with ours.

    Args:
        remembered: with MQTT 3.1.1 the broker keeps the session; with 5 its expiry says so.

    Raises:
        DeliveryError: password or certificates cannot be read.
    """
    five = protocol == "5"
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id,
        clean_session=None if five else not remembered,
        protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
        # Else paho would go down to MQTT 3.1 by itself.
        reconnect_on_failure=False,
    )
    client.connect_timeout = CONNECT_TIMEOUT
    client.max_inflight_messages = 0  # no limit of paho's: the window is ours
    if will_topic is not None:
        client.will_set(will_topic, "offline", qos=1, retain=True)
    if settings.username is not None:
        client.username_pw_set(settings.username, read_password(settings))
    context = tls_context(settings)
    if context is not None:
        client.tls_set_context(context)
    _emit_signals(client, emit)
    return client


def _emit_signals(client: paho.Client, emit: Callable[[Signal], None]) -> None:
    trouble: list[str] = []

    def on_log(_client: paho.Client, _data: Any, level: int, text: str) -> None:
        if level == LogLevel.MQTT_LOG_ERR:
            trouble.append(text)

    def on_connect(
        _client: paho.Client, _data: Any, flags: paho.ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            emit(Refused(str(reason), version=reason == "Unsupported protocol version"))
        else:
            emit(Connected(flags.session_present, getattr(properties, "ReceiveMaximum", 65_535)))

    def on_publish(_client: paho.Client, _data: Any, mid: int, reason: ReasonCode, _properties: Properties | None) -> None:
        emit(Acknowledged(mid, str(reason) if reason.is_failure else None))

    def on_disconnect(
        _client: paho.Client, _data: Any, flags: paho.DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        said = f"the broker says: {reason}" if flags.is_disconnect_packet_from_server else "connection closed"
        emit(Lost(trouble[-1] if trouble else said))

    def on_subscribe(
        _client: paho.Client, _data: Any, mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        emit(Subscribed(mid, next((str(reason) for reason in reasons if reason.is_failure), None)))

    def on_message(_client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        response = getattr(message.properties, "ResponseTopic", None)
        correlation = getattr(message.properties, "CorrelationData", None)
        # A topic that is not UTF-8 would be the broker's fault; it is no reason to lose the connection.
        with suppress(UnicodeDecodeError):
            emit(Received(message.topic, bytes(message.payload), message.retain, response, correlation))

    client.on_log, client.on_connect, client.on_publish, client.on_disconnect = on_log, on_connect, on_publish, on_disconnect
    client.on_subscribe, client.on_message = on_subscribe, on_message


def open_connection(
    client: paho.Client, settings: MqttSettings, protocol: Protocol, session_expiry: int, fresh: bool = False
) -> None:
    """TCP, TLS and the CONNECT packet. Blocks for some seconds at worst (longer where names are resolved slowly).

    Raises:
        OSError, ValueError: see `describe`.
    """
    host, port = settings.host, broker_port(settings)
    if protocol == "3.1.1":
        client.connect(host, port, settings.keepalive)
        return
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = session_expiry
    properties.MaximumPacketSize = LARGEST_PACKET
    client.connect(host, port, settings.keepalive, clean_start=fresh, properties=properties)


def subscribe(client: paho.Client, protocol: Protocol, topics: Sequence[str], retained: bool) -> int:
    """Ask for topics with QoS 1; returns the message id that `Subscribed` will carry.

    Args:
        retained: with what is retained there; MQTT 3.1.1 always sends it. With 5 what somebody retains later is marked too.
    """
    if protocol == "3.1.1":
        return client.subscribe([(topic, 1) for topic in topics])[1] or 0
    handling = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE if retained else SubscribeOptions.RETAIN_DO_NOT_SEND
    options = SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=handling)
    return client.subscribe([(topic, options) for topic in topics])[1] or 0


def describe(error: Exception, tls: bool) -> str:
    """Why an attempt failed, in one line."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"TLS: the broker's certificate is refused: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed ({error.reason or error.args[-1]}); is this the broker's TLS port?"
        case ConnectionRefusedError():
            return "nothing listens there (connection refused)"
        case socket.gaierror():
            return f"the name of the host cannot be resolved ({error.strerror})"
        case TimeoutError():
            return f"no answer within {CONNECT_TIMEOUT:.0f} s"
        case ConnectionError() if tls:
            return f"TLS failed ({error.strerror}); is this the broker's TLS port?"
        case OSError():
            return error.strerror or str(error)
    return str(error)
