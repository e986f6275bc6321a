"""Who may look: this machine by its own names, anyone else by a token."""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qs

from edge.config import PreviewSettings
from edge.errors import ConfigError
from edge.places import secret_file

CREDENTIAL = "preview-token"
# 16 signs of a random word are 64 bits at the least (hexadecimal): nobody guesses it over a network. They stand in an
# address and in a cookie as they are (RFC 3986, unreserved).
TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,256}")

HTTP_PORT = 80


@dataclass(frozen=True, slots=True)
class Door:
    """What a request has to know.

    Attributes:
        token: the word, or None where only this machine is answered.
        hosts: values of the Host header that mean this server. A page of somebody else whose name was made to point here
            (DNS rebinding) sends its own.
        cookie: name of the cookie that keeps the token. Cookies know no ports, so it has the port in its name.
    """

    token: str | None
    hosts: frozenset[str]
    cookie: str

    def admits(self, hosts: Iterable[str], query: str, cookies: Iterable[str], site: str | None, path: str) -> HTTPStatus:
        """Judge a request by its headers.

        Args:
            hosts: all Host headers.
            query: what follows the question mark.
            cookies: all Cookie headers.
            site: Sec-Fetch-Site, by which a browser says whose page asks.
            path: what is asked for.

        Returns:
            OK, or the status that refuses it.
        """
        named = [host.strip().lower() for host in hosts]
        if len(named) != 1:
            return HTTPStatus.BAD_REQUEST
        # Another site may link to this page, but not load its parts and keep its places taken.
        if site in ("cross-site", "same-site") and path != "/":
            return HTTPStatus.FORBIDDEN
        if self.token is not None:
            known = self.told(query) or any(_same(word, self.token) for word in self._kept(cookies))
            return HTTPStatus.OK if known else HTTPStatus.UNAUTHORIZED
        return HTTPStatus.OK if named[0] in self.hosts else HTTPStatus.MISDIRECTED_REQUEST

    def told(self, query: str) -> bool:
        """Whether the query has the token, so that it is to be kept in a cookie."""
        try:
            words = parse_qs(query, max_num_fields=8).get("token", [])
        except ValueError:
            return False
        return self.token is not None and any(_same(word, self.token) for word in words)

    def keep(self) -> str:
        """Set-Cookie: no script reads it, no other site sends it, and it goes with the browser's window."""
        return f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"

    def _kept(self, cookies: Iterable[str]) -> list[str]:
        pairs = (pair.partition("=") for cookie in cookies for pair in cookie.split(";"))
        return [value.strip() for name, _, value in pairs if name.strip() == self.cookie]


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode())


@dataclass(frozen=True, slots=True)
class Place:
    """Where to listen.

    Attributes:
        family: AF_INET or AF_INET6.
        host: the address as numbers.
        name: how people write it in an address.
        local: only this machine can reach it.
    """

    family: socket.AddressFamily
    host: str
    name: str
    local: bool


def find_place(settings: PreviewSettings) -> Place:
    """Look the address up.

    Raises:
        ConfigError: there is no such address.
    """
    try:
        found = socket.getaddrinfo(settings.address, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no name"
        raise ConfigError([f"preview.address = {settings.address!r} cannot be found ({reason}); 127.0.0.1 always can"]) from None
    family, *_, where = found[0]
    host = str(where[0])
    number = ipaddress.ip_address(host.partition("%")[0])
    name = socket.gethostname() if number.is_unspecified else settings.address
    return Place(family, host, f"[{name}]" if ":" in name else name, number.is_loopback)


def own_names(place: Place, port: int) -> frozenset[str]:
    """The Host headers by which this machine calls the server itself."""
    host = f"[{place.host}]" if ":" in place.host else place.host
    names = {"localhost", "127.0.0.1", "[::1]", host.lower(), place.name.lower()}
    return frozenset({f"{name}:{port}" for name in names} | (names if port == HTTP_PORT else set()))


def read_token(settings: PreviewSettings, place: Place) -> str | None:
    """The token: from the file, else the systemd credential.

    Raises:
        ConfigError: it is needed and missing, cannot be read, or is too easily guessed.
    """
    path = secret_file(settings.token_file, CREDENTIAL)
    how = "make one with: openssl rand -hex 16"
    if path is None:
        if place.local:
            return None
        told = f"preview.address = {settings.address!r} can be reached by others, so preview.token_file is needed"
        raise ConfigError([f"{told}: a file with a word that a browser has to know; {how}"])
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError([f"{path}: the preview's token cannot be read ({error.strerror})"]) from None
    except UnicodeDecodeError:
        token = ""
    if not TOKEN.fullmatch(token):
        raise ConfigError([f"{path}: the preview's token has to be 16 to 256 letters, digits and .-_~ and nothing else; {how}"])
    return token
