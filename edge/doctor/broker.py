"""The way to the broker, step by step: name, port, TLS; then what is said over it (`edge.doctor.dialogue`).

Where one step fails, those after it cannot be tried, and only its line is worth reading.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

from edge.clock import SYSTEM, Clock
from edge.config import MqttSettings, Settings
from edge.delivery.broker import CONNECT_TIMEOUT, describe
from edge.doctor.dialogue import talk
from edge.doctor.finding import Finding, Findings, broken, good, warning
from edge.errors import DeliveryError
from edge.login import broker_port, tls_context

# A name server that is away is asked again and again for up to half a minute (resolv.conf(5)).
RESOLVE_TIMEOUT = 10.0
# Enough to get a new certificate without haste.
SOON = 30 * 86_400.0

# OpenSSL's reasons to refuse a certificate (openssl-verification-options(1), x509_vfy.h).
NOT_YET, EXPIRED, OTHER_HOST, OTHER_ADDRESS = 9, 10, 62, 64
UNKNOWN_AUTHORITY = (2, 7, 18, 19, 20, 21)


def check(settings: Settings, _root: Path = Path("/"), clock: Clock = SYSTEM) -> Findings:
    """Name, port, TLS, login, rights and a round trip, up to the first that fails."""
    mqtt = settings.mqtt
    for step in (name, port):
        finding = step(mqtt)
        yield finding
        if finding.verdict == "broken":
            return
    for finding in tls(mqtt, clock):
        yield finding
        if finding.verdict == "broken":
            return
    yield from talk(mqtt)


def name(mqtt: MqttSettings) -> Finding:
    """Whether the broker's name leads to an address."""
    try:
        return good("broker.name", f"{ipaddress.ip_address(mqtt.host)} is an address")
    except ValueError:
        pass
    found: list[Any] = []

    def resolve() -> None:
        try:
            found.append(socket.getaddrinfo(mqtt.host, broker_port(mqtt), type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)

    # A thread, because nothing else ends a resolver before its own time.
    thread = threading.Thread(target=resolve, name="resolve", daemon=True)
    thread.start()
    thread.join(RESOLVE_TIMEOUT)
    remedy = "correct mqtt.host, use the broker's address, or look after the board's name server (resolvectl status)"
    if not found:
        return broken("broker.name", f"no name server tells within {RESOLVE_TIMEOUT:.0f} s where {mqtt.host} is", remedy)
    if isinstance(found[0], Exception):
        reason = describe(found[0], mqtt.tls) if isinstance(found[0], OSError) else "it is no host name"
        return broken("broker.name", f"{mqtt.host}: {reason}", remedy)
    addresses = dict.fromkeys(entry[4][0] for entry in found[0])
    return good("broker.name", f"{mqtt.host} is {', '.join(addresses)}")


def port(mqtt: MqttSettings) -> Finding:
    """Whether anybody listens there."""
    where = f"{mqtt.host} port {broker_port(mqtt)}"
    try:
        with socket.create_connection((mqtt.host, broker_port(mqtt)), timeout=CONNECT_TIMEOUT):
            return good("broker.port", f"{where} answers")
    except OSError as error:
        silent = isinstance(error, TimeoutError)
        cause = (
            "switch that machine on, or open its firewall" if silent else "start the broker there, with a listener for this port"
        )
        remedy = f"{cause}; or correct mqtt.host and mqtt.port"
        return broken("broker.port", f"{where}: {describe(error, tls=False)}", remedy)


def tls(mqtt: MqttSettings, clock: Clock = SYSTEM) -> Findings:
    """Whether the broker's certificate can be verified, and for how long yet; there is no way to do without."""
    if not mqtt.tls:
        if mqtt.username is not None and not _local(mqtt.host):
            remedy = "set mqtt.tls = true and mqtt.ca_file; docs/mqtt.md has the broker's side"
            yield warning("broker.tls", "off: the password crosses the network as plain text", remedy)
        else:
            yield good("broker.tls", "off: what is sent can be read on the way")
        return
    try:
        context = tls_context(mqtt)
    except DeliveryError as error:
        yield broken("broker.tls", str(error), "correct mqtt.ca_file, mqtt.cert_file and mqtt.key_file, or make them readable")
        return
    assert context is not None
    try:
        with (
            socket.create_connection((mqtt.host, broker_port(mqtt)), timeout=CONNECT_TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=mqtt.host) as secure,
        ):
            certificate, version = secure.getpeercert() or {}, secure.version()
    except (OSError, ValueError) as error:
        yield broken("broker.tls", describe(error, tls=True), _tls_remedy(error, mqtt))
        return
    yield expiry(ssl.cert_time_to_seconds(str(certificate["notAfter"])), clock.time(), version or "TLS")


def expiry(end: float, now: float, version: str) -> Finding:
    """How long a verified certificate is good yet; both times in Unix seconds."""
    date = time.strftime("%Y-%m-%d", time.gmtime(end))
    if end - now < SOON:
        days = int(max(0.0, end - now) // 86_400)
        text = f"{version}; the broker's certificate is verified and ends on {date}, in {days} days"
        return warning("broker.tls", text, "give the broker a new certificate before; nothing connects after")
    return good("broker.tls", f"{version}; the broker's certificate is verified, and good until {date}")


def _tls_remedy(error: Exception, mqtt: MqttSettings) -> str:
    code = getattr(error, "verify_code", None)
    if code == EXPIRED:
        return "give the broker a new certificate; or correct this board's clock, if it is wrong (edge-doctor --only clock)"
    if code == NOT_YET:
        return "this board's clock is wrong, most likely: edge-doctor --only clock"
    if code in (OTHER_HOST, OTHER_ADDRESS):
        return "set mqtt.host to a name that is in the certificate, or make one for this name (subjectAltName)"
    if code in UNKNOWN_AUTHORITY:
        right = "name the authority that signed the broker's certificate as mqtt.ca_file"
        return f"{right}; {mqtt.ca_file} is another one" if mqtt.ca_file else right
    if isinstance(error, TimeoutError):
        return "something listens there that does not speak TLS: set mqtt.port to the broker's TLS port (8883)"
    return "set mqtt.port to the broker's TLS port (8883), or give its listener cafile, certfile and keyfile"


def _local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
