"""A small web server: a fixed table of answers, a bounded number of guests, and no patience for those who misbehave."""

from __future__ import annotations

import io
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from edge.preview.access import Door, Place
from edge.preview.pictures import Pictures

log = logging.getLogger(__name__)

# Pages that hear of news at one time, and requests under way at one time, those pages among them.
MOST_PAGES, MOST_CONNECTIONS = 8, 32
# Bytes of a request, and seconds that it may take to come in: a browser's has some hundred bytes and comes at once.
MOST_BYTES, HURRY = 16 * 1024, 5.0
# A page that does not take what it is sent for this long is given up, seconds. The kernel's own buffer is kept small, so that
# nothing much is waiting for a guest who sleeps.
PATIENCE, SEND_BUFFER = 5.0, 64 * 1024
# How often the listening thread looks up from its socket, seconds.
TURN = 0.5
# Wrong tokens are told to the log this often, seconds.
COMPLAIN = 60.0

# Nothing comes from elsewhere, nothing stands in the page itself, and nobody shows it inside another one.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ALWAYS = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("Permissions-Policy", "camera=(), microphone=(), geolocation=()"),
    ("Cache-Control", "no-store"),
    ("Connection", "close"),
)

REFUSALS = {
    HTTPStatus.BAD_REQUEST: "This is no request that a browser would send.",
    HTTPStatus.UNAUTHORIZED: "This page asks for a token: open it once with /?token= and the word that is in preview.token_file.",
    HTTPStatus.FORBIDDEN: "The page of another site has asked for this; open the preview itself.",
    HTTPStatus.NOT_FOUND: "There is nothing here; the preview is at /.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This page can only be looked at.",
    HTTPStatus.MISDIRECTED_REQUEST: "This server does not go by that name; open it by its address, or set preview.token_file.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The request is too long.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Too many look at this device already, or there is no picture; try again later.",
}


@dataclass(frozen=True, slots=True)
class File:
    """A part of the page."""

    kind: str
    content: bytes


class Server(socketserver.TCPServer):
    """One thread for each connection, at most `MOST_CONNECTIONS`; each is known, so that `stop` leaves none.

    Args:
        place: where to listen.
        port: where to listen; 0 is any free one.
        files: path -> what is there.
        messages: what a page hears until the function given to it says that it is over.
        pictures: None where pictures are not allowed: then there is no path that leads to one.
    """

    allow_reuse_address = True
    request_queue_size = 16

    def __init__(
        self,
        place: Place,
        port: int,
        files: dict[str, File],
        messages: Callable[[Callable[[float], bool]], Iterator[bytes]],
        pictures: Pictures | None,
    ) -> None:
        self.address_family = place.family
        self.files, self.messages, self.pictures = files, messages, pictures
        self.door = Door(None, frozenset(), "")
        self.over = threading.Event()
        self.pages = threading.BoundedSemaphore(MOST_PAGES)
        self._guests: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()
        self._complained = -float("inf")
        super().__init__((place.host, port), _Handler)
        self._listener = threading.Thread(target=self.serve_forever, args=(TURN,), name="preview", daemon=True)

    @property
    def port(self) -> int:
        """Where it really listens."""
        return int(self.server_address[1])

    def start(self, door: Door) -> None:
        """Answer whom the door admits."""
        self.door = door
        self._listener.start()

    def stop(self) -> None:
        """End every conversation, and wait for the threads; twice is once."""
        self.over.set()
        if self._listener.is_alive():
            # It wakes at once; from now on there is nothing to accept.
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.shutdown()
            self._listener.join()
        self.server_close()
        with self._lock:
            guests = dict(self._guests)
        for connection in guests.values():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in guests:
            thread.join(PATIENCE)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:
            # Out of file descriptors: the guest goes on waiting, and so do we, instead of asking for it without a pause.
            self.over.wait(TURN)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        guest = threading.Thread(target=self._serve, args=(request, client_address), name="preview-guest", daemon=True)
        with self._lock:
            room = len(self._guests) < MOST_CONNECTIONS
            if room:
                self._guests[guest] = request
        if not room:
            self.shutdown_request(request)
            return
        try:
            guest.start()
        except RuntimeError:
            with self._lock:
                del self._guests[guest]
            raise

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError as error:
            # It has left, or was given up; that is its own affair.
            log.debug("preview: %s", error)
        except Exception:
            log.exception("preview: a request failed")
        finally:
            self.shutdown_request(request)
            with self._lock:
                del self._guests[threading.current_thread()]

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        log.warning("preview: a guest could not be served: no thread could be started for it")

    def complain(self, guest: str) -> None:
        """Somebody has no token or a wrong one: worth a line, but not one for each try."""
        with self._lock:
            now = time.monotonic()
            if now - self._complained < COMPLAIN:
                return
            self._complained = now
        log.warning("preview: %s asked without the right token", guest)


class _Handler(BaseHTTPRequestHandler):
    """One request, one answer, and the connection is closed: there is no second request to smuggle in."""

    server: Server
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.requestline, self.command, self.request_version = "", "", self.protocol_version
        head = self._head()
        self.connection.settimeout(PATIENCE)
        self.rfile.close()
        if head is None:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return
        self.rfile = io.BufferedReader(io.BytesIO(head))
        self.raw_requestline = self.rfile.readline()
        if self.raw_requestline.strip() and self.parse_request():
            # Else a request of HTTP/0.9 would be answered without a head.
            self.request_version = self.protocol_version
            self._answer()

    def _head(self) -> bytes | None:
        """The request's head, empty where it did not come in time; None where it is too long."""
        head, until = b"", time.monotonic() + HURRY
        while b"\r\n\r\n" not in head and b"\n\n" not in head:
            if len(head) > MOST_BYTES:
                return None
            left = until - time.monotonic()
            if left <= 0:
                return b""
            self.connection.settimeout(left)
            try:
                got = self.connection.recv(4096)
            except TimeoutError:
                return b""
            if not got:
                return b""
            head += got
        return head if len(head) <= MOST_BYTES else None

    def _answer(self) -> None:
        path, _, query = self.path.partition("?")
        door, headers = self.server.door, self.headers
        if self.command not in ("GET", "HEAD"):
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED)
            return
        cookies = headers.get_all("Cookie", [])
        status = door.admits(headers.get_all("Host", []), query, cookies, headers.get("Sec-Fetch-Site"), path)
        if status != HTTPStatus.OK:
            if status == HTTPStatus.UNAUTHORIZED:
                self.server.complain(self.client_address[0])
            self._refuse(status)
        elif path in self.server.files:
            file = self.server.files[path]
            self._send(HTTPStatus.OK, file.kind, file.content, [("Set-Cookie", door.keep())] if door.told(query) else [])
        elif path == "/events":
            self._talk()
        elif path == "/picture" and self.server.pictures is not None:
            found = self.server.pictures.newest()
            if found is None:
                self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
            else:
                self._send(HTTPStatus.OK, "image/jpeg", found[0], [("X-Faces", found[1])])
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def _talk(self) -> None:
        """Tell a page what is new, until it leaves, falls asleep or the server ends."""
        if not self.server.pages.acquire(blocking=False):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        try:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "text/event-stream; charset=utf-8")
            self.end_headers()
            if self.command == "GET":
                for message in self.server.messages(self.server.over.wait):
                    self.wfile.write(message)
        finally:
            self.server.pages.release()

    def _refuse(self, status: HTTPStatus) -> None:
        more = [("Allow", "GET, HEAD")] if status == HTTPStatus.METHOD_NOT_ALLOWED else []
        self._send(status, "text/plain; charset=utf-8", (REFUSALS.get(status, status.phrase) + "\n").encode(), more)

    def _send(self, status: HTTPStatus, kind: str, content: bytes, more: list[tuple[str, str]]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in more:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """What the standard library finds wrong with a request."""
        self.request_version = self.protocol_version
        self._refuse(HTTPStatus(code))

    def end_headers(self) -> None:
        for name, value in ALWAYS:
            self.send_header(name, value)
        super().end_headers()

    def version_string(self) -> str:
        return "emotion-edge"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the standard library's name
        """Nothing: a request line may hold the token."""
