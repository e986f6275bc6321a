"""What the broker says to us: login, rights, a round trip. A session of its own, which leaves nothing behind.

Everything goes to `<prefix>/<device>/reply/doctor`: QoS 1, not retained, without a will, under a client id that nobody else
has. So it can be done beside a running edge-run, which listens to `command/` alone.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import deque
from typing import TypeVar

from paho.mqtt.enums import MQTTErrorCode

from edge.config import MqttSettings
from edge.delivery.broker import (
    Acknowledged,
    Connected,
    Lost,
    Protocol,
    Received,
    Refused,
    Signal,
    Subscribed,
    describe,
    new_client,
    open_connection,
)
from edge.delivery.session import ANSWER_TIMEOUT
from edge.delivery.topics import topics
from edge.doctor.finding import Finding, Findings, broken, good, skipped, warning
from edge.errors import DeliveryError
from edge.login import CREDENTIAL, PASSWORD_VARIABLE, read_password

ACKNOWLEDGE_TIMEOUT = 5.0
SLOW = 1.0
# Reasons that mean the name or password (MQTT 5, 2.4, as paho puts them into words; 3.1.1 has the same two).
LOGIN = ("Not authorized", "Bad user name or password")

SignalT = TypeVar("SignalT", bound=Signal)


def doctor_topic(mqtt: MqttSettings) -> str:
    """The only topic that the doctor uses."""
    return f"{topics(mqtt).replies}doctor"


def talk(mqtt: MqttSettings) -> Findings:
    """Log in, subscribe, publish, and wait for what was published."""
    try:
        password = read_password(mqtt)
    except DeliveryError as error:
        how = "run the doctor as the service's user, or with sudo" if os.geteuid() else "look at the path"
        yield broken("broker.login", str(error), f"make the file, correct mqtt.password_file, or {how}")
        return
    session, finding = _log_in(mqtt, password)
    yield finding
    if session is None:
        return
    try:
        yield from _rights(session, doctor_topic(mqtt))
    finally:
        session.close()


class Session:
    """One connection, made as edge-run makes its own, and moved by the caller alone.

    Attributes:
        heard: payloads that have come in.
    """

    def __init__(self, mqtt: MqttSettings, protocol: Protocol) -> None:
        """Raises: DeliveryError: a password, certificate or key cannot be read."""
        self.protocol, self._mqtt = protocol, mqtt
        self._said: deque[Signal] = deque()
        self.heard: list[bytes] = []
        name = f"edge-doctor-{secrets.token_hex(4)}"
        self._client = new_client(mqtt, protocol, name, None, self._said.append, remembered=False)

    def open(self) -> None:
        """TCP, TLS and the CONNECT packet.

        Raises:
            OSError, ValueError: see `edge.delivery.broker.describe`.
        """
        open_connection(self._client, self._mqtt, self.protocol, session_expiry=0)

    def wait(self, kind: type[SignalT], timeout: float) -> SignalT | Lost | Refused:
        """The next signal of a kind, others left aside; `Lost` when the line is cut, or nothing comes in so many seconds."""
        end = time.monotonic() + timeout
        while True:
            while self._said:
                signal = self._said.popleft()
                if isinstance(signal, Received):
                    self.heard.append(signal.payload)
                if isinstance(signal, (kind, Lost, Refused)):
                    return signal
            if time.monotonic() > end:
                return Lost(f"silent for {timeout:.0f} s")
            if self._client.loop(0.05) != MQTTErrorCode.MQTT_ERR_SUCCESS and not self._said:
                return Lost("connection closed")

    def subscribe(self, topic: str) -> Subscribed | Lost | Refused:
        """Ask for a topic at QoS 1."""
        self._client.subscribe(topic, qos=1)
        return self.wait(Subscribed, ACKNOWLEDGE_TIMEOUT)

    def publish(self, topic: str, payload: bytes) -> Acknowledged | Lost | Refused:
        """Publish at QoS 1, not retained."""
        self._client.publish(topic, payload, qos=1, retain=False)
        return self.wait(Acknowledged, ACKNOWLEDGE_TIMEOUT)

    def hears(self, payload: bytes) -> bool:
        """Wait for a message; the broker may have handed it on before it acknowledged it."""
        end = time.monotonic() + ACKNOWLEDGE_TIMEOUT
        while payload not in self.heard:
            if not isinstance(self.wait(Received, end - time.monotonic()), Received):
                return False
        return True

    def close(self) -> None:
        """Say goodbye, so that the broker forgets us at once."""
        if self._client.is_connected():
            self._client.disconnect()
        if (sock := self._client.socket()) is not None:
            sock.close()


def _log_in(mqtt: MqttSettings, password: str | None) -> tuple[Session | None, Finding]:
    """By MQTT 5, else by 3.1.1, as edge-run does it."""
    reason = ""
    protocol: Protocol
    for protocol in ("5", "3.1.1"):
        session = None
        try:
            session = Session(mqtt, protocol)
            session.open()
            answer = session.wait(Connected, ANSWER_TIMEOUT[protocol])
        except (DeliveryError, OSError, ValueError) as error:
            answer = Lost(str(error) if isinstance(error, DeliveryError) else describe(error, mqtt.tls))
        if session is not None and isinstance(answer, Connected):
            who = f"as {mqtt.username}" if mqtt.username is not None else "without a name"
            return session, good("broker.login", f"accepted {who}, MQTT {protocol}")
        if session is not None:
            session.close()
        if isinstance(answer, Refused) and not answer.version:
            return None, broken("broker.login", f"refused: {answer.reason}", _login_remedy(answer.reason, mqtt, password))
        reason = reason or getattr(answer, "reason", "")
    return None, broken("broker.login", f"no answer to CONNECT ({reason})", _silence_remedy(mqtt))


def _login_remedy(reason: str, mqtt: MqttSettings, password: str | None) -> str:
    if reason not in LOGIN:
        return "see the broker's own log for its reason"
    if mqtt.username is None:
        return "the broker wants a user: set mqtt.username and mqtt.password_file"
    if password is None:
        return f"no password was found: set mqtt.password_file, the systemd credential {CREDENTIAL} or {PASSWORD_VARIABLE}"
    setting = f"the password in {mqtt.password_file or f'the credential {CREDENTIAL} or in {PASSWORD_VARIABLE}'}"
    return f"correct mqtt.username or {setting}; on the broker: mosquitto_passwd, then restart or reload it"


def _silence_remedy(mqtt: MqttSettings) -> str:
    if mqtt.cert_file:
        return "the broker may not accept mqtt.cert_file: see its log; the certificate must be of an authority that it knows"
    if mqtt.tls:
        return "it may ask for a certificate of this device (mqtt.cert_file and mqtt.key_file), or be no MQTT broker: see its log"
    return "if this is the broker's TLS port, set mqtt.tls = true; else something other than MQTT listens there"


def _rights(session: Session, topic: str) -> Findings:
    base = topic.rsplit("/", 2)[0]
    device = base.rpartition("/")[2]
    allow = f"let this user write {base}/# on the broker; with systemd/mosquitto.acl, mqtt.username has to be {device}"
    subscribed = session.subscribe(topic)
    if not isinstance(subscribed, Subscribed):
        yield broken("broker.subscribe", f"no answer to a subscription ({subscribed.reason})", f"see the broker's log; {allow}")
        return
    if subscribed.refusal:
        yield broken("broker.subscribe", f"may not subscribe to {topic}: {subscribed.refusal}", allow)
    else:
        yield good("broker.subscribe", f"may subscribe to {topic}")
    payload = f'{{"v":1,"doctor":"{secrets.token_hex(8)}"}}'.encode()
    began = time.monotonic()
    published = session.publish(topic, payload)
    if not isinstance(published, Acknowledged):
        yield broken("broker.publish", f"no acknowledgement ({published.reason})", f"see the broker's log; {allow}")
        return
    if published.refusal:
        yield broken("broker.publish", f"may not publish to {topic}: {published.refusal}", allow)
        return
    # MQTT 3.1.1 has no word for "refused": such a broker acknowledges, and drops the message.
    yield good("broker.publish", f"may publish to {topic}" if session.protocol == "5" else "acknowledged")
    if subscribed.refusal:
        yield skipped("broker.round_trip", "not tried: nothing comes back without the subscription")
    elif session.hears(payload):
        yield round_trip(time.monotonic() - began)
    else:
        # mosquitto grants every subscription, and keeps quiet about a message that its access list holds back.
        text = f"taken, but did not come back within {ACKNOWLEDGE_TIMEOUT:.0f} s: this user may write, and not read"
        remedy = f"events arrive all the same; for commands, let it read {base}/command/+, and {topic} for this line"
        yield warning("broker.round_trip", text, remedy)


def round_trip(seconds: float) -> Finding:
    """How long a message takes there and back."""
    text = f"there and back in {1000 * seconds:.0f} ms"
    if seconds > SLOW:
        remedy = "look at the network (ping) and at the load of the broker's machine; events wait, none is lost"
        return warning("broker.round_trip", text, remedy)
    return good("broker.round_trip", text)
