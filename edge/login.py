"""What a client of the broker needs to be let in, as the settings say: port, password, TLS."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from edge.config import MqttSettings
from edge.errors import DeliveryError
from edge.places import secret_file

PASSWORD_VARIABLE = "EMOTION_EDGE_MQTT_PASSWORD"  # noqa: S105  # the name of the variable, not a password
CREDENTIAL = "mqtt-password"


def broker_port(settings: MqttSettings) -> int:
    """The port as set, else IANA's for MQTT: 1883, with TLS 8883."""
    return settings.port or (8883 if settings.tls else 1883)


def read_password(settings: MqttSettings) -> str | None:
    """The password: from the file, else the systemd credential, else the environment.

    Raises:
        DeliveryError: a file is named that cannot be read.
    """
    path = secret_file(settings.password_file, CREDENTIAL)
    if path is None:
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
