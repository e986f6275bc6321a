"""What makes a board one's own: its name, network, key and broker, read from files (or asked for) and never from flags."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from edge.config import read_settings
from edge.config.settings import Topic, TopicLevel
from edge.errors import DeployError, first_line

# RFC 1123, one label.
HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
PUBLIC_KEY = re.compile(r"(ssh-(ed25519|rsa)|ecdsa-sha2-\S+|sk-\S+@openssh\.com) [A-Za-z0-9+/]+=*( .*)?")
LARGEST = 1_000_000

# Asks a person for a secret; None where nobody is there to answer.
Ask = Callable[[str], str] | None
Table = TypeVar("Table", bound=msgspec.Struct)


class Wifi(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A wireless network, as `--wifi-file` tells it (TOML).

    Attributes:
        ssid: its name.
        country: two letters; which channels may be used is law.
        password: of WPA2 or WPA3, 8 to 63 characters, or the 64 hexadecimal digits of the key itself; "" is an open network.
        hidden: it does not say its name.
    """

    ssid: Annotated[str, msgspec.Meta(min_length=1)]
    country: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")]
    password: str | None = None
    hidden: bool = False

    @property
    def key(self) -> str:
        """The network's key instead of its password, as WPA derives it (IEEE 802.11, annex J.4); "" for an open network."""
        password = self.password or ""
        if not password or len(password) == 64:
            return password.lower()
        return hashlib.pbkdf2_hmac("sha1", password.encode(), self.ssid.encode(), 4096, 32).hex()


class Mqtt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The broker, as `--mqtt-file` tells it (TOML): keys of the configuration's [mqtt], and the password itself.

    Attributes:
        host, port, username, tls, device, prefix: see there.
        password: goes into a file of its own, which only root and the service can read.
        ca_file: of this machine, beside the file that names it; it goes to the board.
    """

    host: Annotated[str, msgspec.Meta(min_length=1)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    username: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    password: str | None = None
    tls: bool | None = None
    ca_file: str | None = None
    device: TopicLevel | None = None
    prefix: Topic | None = None


@dataclass(frozen=True, slots=True)
class Personal:
    """What was given, read and checked; None is left as the system has it.

    Attributes:
        hostname: a name without dots.
        wifi, mqtt: see there.
        ca: the content of `mqtt.ca_file`.
        ssh_key: one line, as authorized_keys takes it.
        update_key: PEM, the owner's public key.
        config: a configuration in place of the bundle's.
    """

    hostname: str | None = None
    wifi: Wifi | None = None
    mqtt: Mqtt | None = None
    ca: bytes | None = None
    ssh_key: str | None = None
    update_key: bytes | None = None
    config: str | None = None


def read_personal(
    *,
    hostname: str | None = None,
    wifi: Path | None = None,
    mqtt: Path | None = None,
    ssh_key: Path | None = None,
    update_key: Path | None = None,
    config: Path | None = None,
    ask: Ask = None,
) -> Personal:
    """Read every file that was named, and ask for the passwords that are not in them.

    Raises:
        DeployError: one of them cannot be used.
        ConfigError: `config` cannot be used; every mistake in it.
    """
    if hostname is not None and not HOSTNAME.fullmatch(hostname):
        raise DeployError(f"--hostname {hostname!r}: expected letters, digits and - (at most 63), such as camera-1")
    broker = _broker(mqtt, ask) if mqtt else None
    ca = None
    if broker and broker.ca_file is not None and mqtt:
        try:
            ca = _read(mqtt.parent / Path(broker.ca_file).expanduser())
        except RuntimeError:
            raise DeployError(f"{mqtt}: ca_file = {broker.ca_file!r}: nobody's home; give the whole path") from None
        if b"-----BEGIN CERTIFICATE-----" not in ca:
            raise DeployError(f"{broker.ca_file}: no certificate in PEM form")
    return Personal(
        hostname,
        _wifi(wifi, ask) if wifi else None,
        broker,
        ca,
        _ssh_key(ssh_key) if ssh_key else None,
        _update_key(update_key) if update_key else None,
        _config(config) if config else None,
    )


def _wifi(path: Path, ask: Ask) -> Wifi:
    wifi = _table(path, Wifi)
    if wifi.password is None:
        wifi = msgspec.structs.replace(wifi, password=_secret(path, f"password of the network {wifi.ssid}", ask))
    password = wifi.password or ""
    derived = len(password) == 64 and re.fullmatch("[0-9a-fA-F]{64}", password)
    if password and not derived and not (8 <= len(password.encode()) <= 63):
        raise DeployError(f"{path}: the password of a wireless network has 8 to 63 characters")
    if len(wifi.ssid.encode()) > 32 or any(ord(letter) < 32 for letter in wifi.ssid):
        raise DeployError(f"{path}: the name of a wireless network has at most 32 bytes and no control characters")
    return wifi


def _broker(path: Path, ask: Ask) -> Mqtt:
    mqtt = _table(path, Mqtt)
    if mqtt.password is not None and mqtt.username is None:
        raise DeployError(f"{path}: password needs username")
    if mqtt.username is not None and mqtt.password is None:
        mqtt = msgspec.structs.replace(mqtt, password=_secret(path, f"password of {mqtt.username} on {mqtt.host}", ask))
    if mqtt.ca_file is not None and not mqtt.tls:
        raise DeployError(f"{path}: ca_file needs tls = true")
    return mqtt


def _table(path: Path, kind: type[Table]) -> Table:
    try:
        return msgspec.toml.decode(_read(path), type=kind)
    except msgspec.ValidationError as error:
        raise DeployError(f"{path}: {first_line(error)}; known are {', '.join(kind.__struct_fields__)}") from None
    except (msgspec.DecodeError, ValueError, RecursionError):
        # The parser's own words may repeat the line, and the line may hold the password.
        raise DeployError(f'{path}: not valid TOML; expected lines such as {kind.__struct_fields__[0]} = "…"') from None


def _secret(path: Path, what: str, ask: Ask) -> str:
    if ask is None:
        raise DeployError(f'{path}: no password in it, and nobody here to be asked; add password = "…" ("" for none)')
    return ask(f"{what}: ")


def _ssh_key(path: Path) -> str:
    text = _read(path).decode("utf-8", "replace").strip()
    if "PRIVATE KEY" in text:
        raise DeployError(f"{path}: a private key, which stays on this machine; give the public one ({path.name}.pub)")
    if not PUBLIC_KEY.fullmatch(text):
        raise DeployError(f"{path}: not a public key of ssh (one line, such as ssh-ed25519 AAAA… name)")
    return text


def _update_key(path: Path) -> bytes:
    content = _read(path)
    if b"PRIVATE KEY" in content:
        raise DeployError(f"{path}: a private key, which stays on this machine; give the public one (owner.pub)")
    if not content.startswith(b"-----BEGIN PUBLIC KEY-----"):
        raise DeployError(f"{path}: not a public key in PEM form; edge-model keygen makes one")
    return content


def _config(path: Path) -> str:
    content = _read(path)
    read_settings(path, {})
    return content.decode()


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        # A name that no file can have is a ValueError.
        raise DeployError(f"{path}: cannot be read ({getattr(error, 'strerror', error)})") from None
    if len(content) > LARGEST:
        raise DeployError(f"{path}: larger than any such file; is it the right one?")
    return content
