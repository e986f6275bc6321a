"""The system that a board has: which it is, and whether a bundle is for it. Known by its files alone; nothing of it is run."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from converters.deploy.flash.plan import SETTINGS
from converters.deploy.targets import TARGETS
from converters.deploy.verify import Bundle
from edge.doctor.elf import MAGIC, numbers
from edge.errors import DeployError

# Contents by path, of those files that are there; links are followed within the board's own tree.
Read = Callable[[Iterable[str]], Mapping[str, bytes]]

SHELL, LIBRARY = "/bin/sh", "/lib/aarch64-linux-gnu/libc.so.6"
RELEASE, PASSWORDS = "/etc/os-release", "/etc/passwd"
TEGRA, RASPBERRY = "/etc/nv_tegra_release", "/etc/rpi-issue"
CLOUD = "/etc/cloud/cloud.cfg"
NETWORK_MANAGER, IFUPDOWN, SUPPLICANT = (
    "/etc/NetworkManager/NetworkManager.conf",
    "/etc/network/interfaces",
    "/etc/wpa_supplicant/functions.sh",
)
NAME, HOSTS = "/etc/hostname", "/etc/hosts"
CONFIG = f"{SETTINGS}/config.toml"
INSTALLED = "/opt/emotion-edge/current/bundle.json"
FACTS = (
    SHELL, LIBRARY, RELEASE, PASSWORDS, TEGRA, RASPBERRY, CLOUD, NETWORK_MANAGER, IFUPDOWN, SUPPLICANT, HOSTS, CONFIG, INSTALLED
)  # fmt: skip
# Of ELF's e_machine.
ARCHITECTURES = {183: "aarch64", 62: "x86_64", 40: "arm", 3: "i386", 243: "riscv"}
FIRST_USER = 1000


class User(NamedTuple):
    """Who logs in: the first user, or root where there is none."""

    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True)
class System:
    """What matters of it here.

    Attributes:
        name: for people.
        first_boot: what Raspberry Pi OS sets itself up with: cloud-init (trixie) or firstrun.sh (bookworm); plain is any other.
        network: what keeps wireless networks, if anything does.
        user: who logs in. keys: that user's authorized_keys.
        hosts: the file.
        settings: the configuration of a board that runs, if it has one.
    """

    name: str
    first_boot: Literal["plain", "cloud-init", "firstrun"]
    network: Literal["NetworkManager", "ifupdown"] | None
    user: User
    keys: str
    hosts: str
    settings: bytes | None


def examine(read: Read, bundle: Bundle, place: str, *, running: bool = False) -> System:
    """Look at a system and hold a bundle against it.

    Args:
        read: its files.
        bundle: what is to be installed there.
        place: what to call it.
        running: it has booted before: an installation is upgraded, and what is for a first boot is not used.

    Raises:
        DeployError: there is none, or the bundle is for another.
    """
    target = TARGETS[bundle.target]
    # With it the board can make a virtual environment; Debian has it in a package of its own.
    venv = f"/usr/lib/python{bundle.python}/ensurepip/__init__.py"
    facts = read((*FACTS, venv))
    name = _value(facts.get(RELEASE, b""), "PRETTY_NAME") or "an unknown system"
    _processor(facts.get(SHELL), bundle, place)
    if (TEGRA in facts) != (target.platform == "jetson"):
        kind, other = ("Jetson", "none") if target.platform == "jetson" else ("Raspberry Pi", "a Jetson")
        raise DeployError(f"{place}: the bundle is for a {kind} ({target.name}), and this is {other} ({name}); {_ANOTHER}")
    _library(facts.get(LIBRARY), bundle, place, name)
    if target.interpreter is None and venv not in facts:
        raise DeployError(
            f"{place}: the bundle is for Python {bundle.python} with python3-venv ({target.name}), and {name} has none; "
            f"{_ANOTHER}, or install python3-venv there"
        )
    if INSTALLED in facts and not running:
        raise DeployError(f"{place}: emotion-edge is installed there already; upgrade it with --ssh, or with install.sh on it")
    first_boot: Literal["plain", "cloud-init", "firstrun"] = "plain"
    if RASPBERRY in facts and not running:
        first_boot = "cloud-init" if CLOUD in facts else "firstrun"
    user = _user(facts.get(PASSWORDS, b""))
    keys = f"{user.home}/.ssh/authorized_keys"
    network: Literal["NetworkManager", "ifupdown"] | None = None
    if NETWORK_MANAGER in facts:
        network = "NetworkManager"
    elif IFUPDOWN in facts and SUPPLICANT in facts:
        network = "ifupdown"
    settings = facts.get(CONFIG) if running else None
    return System(name, first_boot, network, user, _text(read([keys]).get(keys)), _text(facts.get(HOSTS)), settings)


_ANOTHER = "edge-bundle --target makes one for it"


def _processor(shell: bytes | None, bundle: Bundle, place: str) -> None:
    if shell is None or shell[:4] != MAGIC or len(shell) < 20:
        raise DeployError(f"{place}: no Linux system in it ({SHELL} is missing); give the root of a board's system")
    order = "<" if shell[5] == 1 else ">"
    (number,) = struct.unpack_from(f"{order}H", shell, 18)
    machine, bits = ARCHITECTURES.get(number, f"processor {number}"), 32 * shell[4]
    if (machine, bits) != (bundle.machine, 64):
        raise DeployError(f"{place}: the bundle is for {bundle.machine}, 64-bit, and this system is {machine}, {bits}-bit")


def _library(library: bytes | None, bundle: Bundle, place: str, name: str) -> None:
    # glibc says so when it is run, and so it stands in it.
    found = re.search(rb"GNU C Library .{0,100}release version (\d+\.\d+)", library or b"")
    if not found:
        raise DeployError(f"{place}: the bundle needs glibc {bundle.glibc}, and {name} has another C library")
    version = found[1].decode()
    if numbers(version) < numbers(bundle.glibc):
        raise DeployError(
            f"{place}: the bundle needs glibc {bundle.glibc} ({bundle.target}), and {name} has {version}; {_ANOTHER}"
        )


def _user(passwords: bytes) -> User:
    for line in _text(passwords).splitlines():
        fields = line.split(":")
        if len(fields) == 7 and fields[2] == str(FIRST_USER) and fields[3].isdecimal() and fields[5].startswith("/"):
            return User(fields[0], FIRST_USER, int(fields[3]), fields[5].rstrip("/"))
    return User("root", 0, 0, "/root")


def _value(release: bytes, key: str) -> str:
    found = re.search(rf'^{key}="?([^"\n]*)', _text(release), re.MULTILINE)
    return found[1] if found else ""


def _text(content: bytes | None) -> str:
    return (content or b"").decode("utf-8", "replace")
