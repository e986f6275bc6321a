"""The plan of a board: bundle, first-boot unit, and what makes it one's own."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from converters.deploy.flash.first_boot import cloud_init, first_run
from converters.deploy.flash.personal import Personal, Wifi
from converters.deploy.flash.plan import BUNDLE, PROGRAM, SETTINGS, Entry, File, Folder, Link, Plan
from converters.deploy.flash.system import CONFIG, HOSTS, NAME, System
from converters.deploy.units import SETUP, render_setup
from converters.deploy.verify import EXECUTABLE
from edge.errors import DeployError

UNITS = "/etc/systemd/system"
DONE = Link(f"{UNITS}/multi-user.target.wants/{SETUP}", f"{UNITS}/{SETUP}")
NO_TOML = "the configuration is not valid TOML, so nothing can be added to it; mend it, or give another with --config"


def make_plan(content: Path, personal: Personal, system: System, boot: Mapping[str, bytes]) -> Plan:
    """List everything that a board gets.

    Args:
        content: the unpacked bundle.
        personal: what was asked for.
        system: what the board has.
        boot: of its boot partition, what is there (names in `first_boot.NAMES`).

    Raises:
        DeployError: something that was asked for does not go with the system, or with each other.
    """
    entries: dict[str, Entry] = {}

    def add(entry: Entry, folder_mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        for above in reversed(PurePosixPath(entry.path).parents[:-1]):
            # Only the last folder may be somebody's own.
            last = above == PurePosixPath(entry.path).parent
            folder = Folder(str(above), folder_mode, uid, gid) if last else Folder(str(above))
            entries.setdefault(str(above), folder)
        entries[entry.path] = entry

    add(Folder(PROGRAM))
    for path in sorted(content.rglob("*")):
        if path.is_file():
            name = str(path.relative_to(content))
            add(File(f"{BUNDLE}/{name}", path, 0o755 if name == EXECUTABLE else 0o644))
    add(File(f"{UNITS}/{SETUP}", render_setup().encode()))
    add(Folder(str(PurePosixPath(DONE.path).parent)))
    for file in _settings(content, personal, system):
        add(file)
    extra: dict[str, bytes] = {}
    if system.first_boot == "cloud-init":
        extra = cloud_init(personal, system.user, boot)
    else:
        for file in _network(personal, system):
            add(file)
        if system.first_boot == "firstrun":
            extra = first_run(personal, system.user, boot)
        elif personal.ssh_key:
            user = system.user
            file = File(f"{user.home}/.ssh/authorized_keys", _with_key(system.keys, personal.ssh_key), 0o600, user.uid, user.gid)
            add(file, 0o700, user.uid, user.gid)
    if extra and not boot:
        raise DeployError(
            "its boot partition is not there, and Raspberry Pi OS is told name, network and key on it; mount it at boot/firmware"
        )
    return Plan(tuple(entries.values()), DONE, extra)


def _settings(content: Path, personal: Personal, system: System) -> Iterator[File]:
    """Configuration and secrets. Until the service's group is there they are root's alone; install.sh gives them to it."""
    changes: dict[str, dict[str, Any]] = {}
    if mqtt := personal.mqtt:
        told = {key: value for key, value in msgspec.structs.asdict(mqtt).items() if value is not None}
        if told.pop("password", None):
            yield File(f"{SETTINGS}/mqtt-password", f"{mqtt.password}\n".encode(), 0o640)
            told["password_file"] = f"{SETTINGS}/mqtt-password"
        if personal.ca is not None:
            yield File(f"{SETTINGS}/ca.crt", personal.ca)
            told["ca_file"] = f"{SETTINGS}/ca.crt"
        changes["mqtt"] = told
    if personal.update_key is not None:
        yield File(f"{SETTINGS}/owner.pub", personal.update_key)
        changes["update"] = {"key_file": f"{SETTINGS}/owner.pub"}
    # Without any of them install.sh lays down the bundle's own, where there is none.
    if changes or personal.config is not None:
        text = _configuration(content, personal, system)
        for section, keys in changes.items():
            for key, value in keys.items():
                text = with_key(text, section, key, value)
        if text.encode() != system.settings:
            yield File(CONFIG, text.encode(), 0o640)


def _configuration(content: Path, personal: Personal, system: System) -> str:
    """What is added to: what was given, else a running board's own, else the bundle's."""
    if personal.config is not None:
        return personal.config
    if system.settings is None:
        return (content / "config.toml").read_text()
    try:
        return system.settings.decode()
    except UnicodeDecodeError:
        raise DeployError(NO_TOML) from None


def with_key(text: str, section: str, key: str, value: str | int | bool) -> str:
    """A configuration with one key more; its comments stay.

    Raises:
        DeployError: it has the key already, with another value; or it cannot be added to.
    """
    try:
        before = msgspec.toml.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise DeployError(NO_TOML) from None
    # JSON's texts, numbers and truths are TOML's too.
    line = f"{key} = {msgspec.json.encode(value).decode()}"
    table = before.get(section, {})
    other_form = f"the configuration has [{section}] in a form that cannot be added to; write {line} into it yourself"
    if not isinstance(table, dict):
        raise DeployError(other_form)
    now = table.get(key)
    if now == value:
        return text
    if now is not None:
        raise DeployError(f"{section}.{key} is {now!r} in the configuration, and would be {value!r}; leave it out of one of them")
    head = rf"(?m)^\[{re.escape(section)}\][ \t]*(#[^\n]*)?$"
    if re.search(head, text):
        # In place of the comment that shows the default, as a person would do it.
        commented = rf"(?ms){head[4:]}(?:(?!^\[).)*?^(?P<line>#{re.escape(key)} = [^\n]*)$"
        if found := re.search(commented, text):
            text = text[: found.start("line")] + line + text[found.end("line") :]
        else:
            text = re.sub(head, lambda found: f"{found[0]}\n{line}", text, count=1)
    else:
        text = f"{text.rstrip()}\n\n[{section}]\n{line}\n"
    try:
        after = msgspec.toml.decode(text)
    except (msgspec.DecodeError, ValueError):
        after = {}
    if after != {**before, section: {**table, key: value}}:
        raise DeployError(other_form)
    return text


def _network(personal: Personal, system: System) -> Iterator[File]:
    """Name and wireless network, for a system that has no first boot of its own for them."""
    if name := personal.hostname:
        yield File(NAME, f"{name}\n".encode())
        yield File(HOSTS, _hosts(system.hosts, name).encode())
    if (wifi := personal.wifi) is None:
        return
    if system.network == "NetworkManager":
        yield File("/etc/NetworkManager/system-connections/emotion-edge.nmconnection", _connection(wifi).encode(), 0o600)
    elif system.network == "ifupdown":
        # Debian's interfaces(5) includes this folder.
        yield File("/etc/network/interfaces.d/emotion-edge", _interface(wifi).encode(), 0o600)
    else:
        raise DeployError(f"--wifi-file: {system.name} has neither NetworkManager nor ifupdown with wpa_supplicant to keep it")


def _hosts(hosts: str, name: str) -> str:
    """Debian's way: the name at 127.0.1.1."""
    line = f"127.0.1.1\t{name}"
    changed, count = re.subn(r"(?m)^127\.0\.1\.1\s.*$", line, hosts)
    return changed if count else f"{hosts.rstrip() or '127.0.0.1' + chr(9) + 'localhost'}\n{line}\n"


def _connection(wifi: Wifi) -> str:
    """For NetworkManager (nm-settings-keyfile(5)); the name as numbers, which need no quoting."""
    ssid = "".join(f"{byte};" for byte in wifi.ssid.encode())
    # The same network gets the same one.
    identity = uuid.uuid5(uuid.NAMESPACE_DNS, wifi.ssid)
    security = f"\n[wifi-security]\nkey-mgmt=wpa-psk\npsk={wifi.key}\n" if wifi.key else ""
    return (
        f"[connection]\nid=emotion-edge\nuuid={identity}\ntype=wifi\n\n"
        f"[wifi]\nmode=infrastructure\nssid={ssid}\nhidden={'true' if wifi.hidden else 'false'}\n"
        f"{security}\n[ipv4]\nmethod=auto\n\n[ipv6]\nmethod=auto\n"
    )


def _interface(wifi: Wifi) -> str:
    """For ifupdown with wpa_supplicant (its README.Debian)."""
    lines = ["allow-hotplug wlan0", "iface wlan0 inet dhcp", f"    wpa-ssid {wifi.ssid}"]
    lines += [f"    wpa-psk {wifi.key}"] if wifi.key else ["    wpa-key-mgmt NONE"]
    lines += ["    wpa-scan-ssid 1"] if wifi.hidden else []
    return "\n".join([*lines, ""])


def _with_key(keys: str, key: str) -> bytes:
    lines = keys.splitlines()
    return "".join(f"{line}\n" for line in (lines if key in lines else [*lines, key])).encode()
