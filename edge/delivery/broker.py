"""How to reach the broker: password, TLS, one paho client for one attempt, and what went wrong in one line."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.config import MqttSettings
from edge.errors import DeliveryError

Protocol = Literal["5", "3.1.1"]

PASSWORD_VARIABLE = "EMOTION_EDGE_MQTT_PASSWORD"  # noqa: S105  # the name of the variable, not a password
CREDENTIAL = "mqtt-password"
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


def read_password(settings: MqttSettings) -> str | None:
    """The password: from the file, else the systemd credential, else the environment.

    Raises:
        DeliveryError: a file is named that cannot be read.
    """
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    credential = Path(credentials) / CREDENTIAL if credentials else None
    path = Path(settings.password_file).expanduser() if settings.password_file else credential
    if path is None or (path == credential and not path.exists()):
        return os.environ.get(PASSWORD_VARIABLE)
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise DeliveryError(f"{path}: the broker's password cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise DeliveryError(f"{path}: the broker's password is not UTF-8 text") from None


def tls_context(settings: MqttSettings) -> ssl.SSLContext | None:
    """Certificates and host name are always verified; None without TLS.

    Raises:
        DeliveryError: a certificate or key that cannot be read.
    """
    if not settings.tls:
        return None
    name = settings.ca_file
    try:
        context = ssl.create_default_context(cafile=name and str(Path(name).expanduser()))
        context.sslsocket_class = _Socket
        if settings.cert_file:
            name = f"{settings.cert_file} with {settings.key_file}"
            key = settings.key_file and str(Path(settings.key_file).expanduser())
            # An encrypted key would make OpenSSL ask for its pass phrase on the terminal, and wait for ever as a service.
            context.load_cert_chain(Path(settings.cert_file).expanduser(), key, password=_no_pass_phrase)
    except (OSError, ValueError) as error:
        raise DeliveryError(f"TLS: {name} cannot be used ({error.args[-1]}); PEM files are expected") from None
    return context


class _Socket(ssl.SSLSocket):
    """Paho leaves the socket of a failed handshake open until the garbage collector finds it."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _no_pass_phrase() -> str:
    raise ValueError("the key is encrypted, and there is nobody to ask for its pass phrase")


def broker_port(settings: MqttSettings) -> int:
    """The port as set, else IANA's for MQTT: 1883, with TLS 8883."""
    return settings.port or (8883 if settings.tls else 1883)


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
