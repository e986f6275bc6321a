"""Whoever asks: only this machine or the right token is answered, nobody holds the server up, and it ends without a trace."""

from __future__ import annotations

import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from previewing import LABELS, MODEL, STATE, STATS, ask, emotion, face, frame, listen, port_of, send

from edge.config import PreviewSettings
from edge.errors import ConfigError
from edge.preview import FILES, Preview, server

TOKEN = "0123456789abcdef0123456789abcdef"
EVERYWHERE = ("/", "/page.css", "/page.js", "/icon.svg", "/events", "/picture", "/nothing")
Opener = Callable[..., Preview]


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    return str(tmp_path / "token")


def _settle(condition: Callable[[], bool], patience: float = 20.0) -> bool:
    end = time.monotonic() + patience
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def _guests() -> int:
    return sum(thread.name == "preview-guest" for thread in threading.enumerate())


def _rest(connection: socket.socket) -> bytes:
    """All that comes until the end, which an answer other than a page's conversation has."""
    got, end = b"", time.monotonic() + 20
    try:
        while chunk := connection.recv(1 << 16):
            got += chunk
            assert time.monotonic() < end, "no end in sight"
    except ConnectionResetError:
        pass
    return got


def test_the_page_is_whole_and_asks_for_nothing_from_elsewhere(preview: Opener):
    shown = preview()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", shown.address)
    for path, (_, kind) in FILES.items():
        status, headers, body = ask(shown, path)
        assert (status, headers["Content-Type"], int(headers["Content-Length"])) == (200, kind, len(body))
        assert ask(shown, path, "HEAD")[2] == b""
        foreign = set(re.findall(rb"https?://[^\"' )]+", body)) - {b"http://www.w3.org/2000/svg"}
        assert not foreign
        assert not re.search(rb"@import|\son\w+=|<style|style=|javascript:|eval\(|innerHTML|insertAdjacent", body)


@pytest.mark.parametrize("path", EVERYWHERE)
@pytest.mark.parametrize("method", ["HEAD", "POST", "GET /"])
def test_every_answer_and_every_refusal_is_guarded(preview: Opener, path: str, method: str):
    shown = preview(pictures=True)
    request = f"{method} {path} HTTP/1.1\r\nHost: localhost:{port_of(shown)}\r\n\r\n"
    with send(shown, request.encode()) as connection:
        head = _rest(connection).partition(b"\r\n\r\n")[0].decode()
    for guard in (
        "default-src 'none'; script-src 'self'; style-src 'self'",
        "frame-ancestors 'none'",
        "X-Content-Type-Options: nosniff",
        "Referrer-Policy: no-referrer",
        "Cache-Control: no-store",
        "Cross-Origin-Resource-Policy: same-origin",
    ):
        assert guard in head
    assert "Access-Control" not in head
    assert "unsafe" not in head
    assert "Python" not in head


@pytest.mark.parametrize(
    ("request_line", "headers", "status"),
    [
        ("GET / HTTP/1.1", "Host: evil.example", 421),
        ("GET / HTTP/1.1", "Host: evil.example:{port}", 421),
        ("GET / HTTP/1.1", "Host: localhost:1", 421),
        ("GET / HTTP/1.1", "Host: 127.0.0.1.evil.example:{port}", 421),
        ("GET / HTTP/1.1", "", 400),
        ("GET / HTTP/1.1", "Host: localhost:{port}\r\nHost: evil.example", 400),
        ("GET /", "", 400),
        ("GET / HTTP/9.9", "Host: localhost:{port}", 505),
        ("GET / HTTP/x", "Host: localhost:{port}", 400),
        ("GET", "Host: localhost:{port}", 400),
        ("\x00\xff\xfe", "Host: localhost:{port}", 400),
        ("POST / HTTP/1.1", "Host: localhost:{port}\r\nContent-Length: 3\r\n\r\nabc", 405),
        ("OPTIONS / HTTP/1.1", "Host: localhost:{port}\r\nOrigin: http://evil.example", 405),
        ("TRACE / HTTP/1.1", "Host: localhost:{port}", 405),
        ("GET /../../../../etc/passwd HTTP/1.1", "Host: localhost:{port}", 404),
        ("GET /page.js/../server.py HTTP/1.1", "Host: localhost:{port}", 404),
        ("GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1", "Host: localhost:{port}", 404),
        ("GET //etc/passwd HTTP/1.1", "Host: localhost:{port}", 404),
        ("GET /server.py HTTP/1.1", "Host: localhost:{port}", 404),
        ("GET /page.html HTTP/1.1", "Host: localhost:{port}", 404),
        ("GET http://localhost:{port}/ HTTP/1.1", "Host: localhost:{port}", 404),
        ("GET /picture HTTP/1.1", "Host: localhost:{port}", 404),
        ("GET /events HTTP/1.1", "Host: localhost:{port}\r\nSec-Fetch-Site: cross-site", 403),
        ("GET /page.js HTTP/1.1", "Host: localhost:{port}\r\nSec-Fetch-Site: same-site", 403),
        ("GET / HTTP/1.1", "Host: localhost:{port}\r\nSec-Fetch-Site: cross-site", 200),
        ("GET /?token=x&token=y HTTP/1.1", "Host: LOCALHOST:{port}", 200),
        ("GET / HTTP/1.1", "Host: 127.0.0.1:{port}", 200),
        ("GET / HTTP/1.1", "Host: [::1]:{port}", 200),
        ("GET / HTTP/1.1", "Host: localhost:{port}\r\nX: " + "a" * 20_000, 431),
        ("GET /" + "a" * 20_000 + " HTTP/1.1", "Host: localhost:{port}", 431),
        ("GET / HTTP/1.1", "Host: localhost:{port}\r\n" + "\r\n".join(f"X{n}: y" for n in range(150)), 431),
    ],
)
def test_a_hostile_request_gets_its_status_and_the_server_goes_on(
    preview: Opener, caplog: pytest.LogCaptureFixture, request_line: str, headers: str, status: int
):
    shown = preview()
    data = f"{request_line}\r\n{headers}\r\n\r\n".replace("{port}", str(port_of(shown))).encode("latin-1")
    with send(shown, data) as connection:
        answer = _rest(connection)
    # What was not read any more may reset the connection before the answer is seen.
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()) or (status == 431 and not answer)
    assert answer.count(b"HTTP/1.1") <= 1
    assert b"root:" not in answer
    assert ask(shown)[0] == 200
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_request_without_an_end_is_refused_by_its_length_alone(preview: Opener, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "HURRY", 60.0)
    with send(preview(), b"GET /" + b"a" * (server.MOST_BYTES + 8192)) as connection:
        connection.settimeout(5)
        # What was not read any more may reset the connection before the answer is seen.
        with suppress(ConnectionResetError):
            assert connection.recv(100).startswith(b"HTTP/1.1 431 ")


def test_without_the_token_nothing_is_told_and_with_it_a_cookie_is_enough(
    preview: Opener, token_file: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    shown = preview(address="0.0.0.0", token_file=token_file)
    refused: list[tuple[str, dict[str, str]]] = [
        ("/", {}),
        ("/?token=", {}),
        ("/?token=wrong", {}),
        (f"/?token={TOKEN[:-1]}", {}),
        ("/?token=%FF%00%C3%A9", {}),
        ("/?" + "&".join(f"token={n}" for n in range(100)), {}),
        ("/", {"Cookie": f"emotion_edge_{port_of(shown)}=wrong"}),
        ("/", {"Cookie": f"other={TOKEN}; emotion_edge_1={TOKEN}"}),
        ("/", {"Cookie": ";;=;" + "\xe9"}),
        *((path, {}) for path in EVERYWHERE),
    ]
    for path, headers in refused:
        status, given, body = ask(shown, path, **headers)
        assert (status, "Set-Cookie" in given) == (401, False), path
        assert b"kitchen" not in body
    status, given, _ = ask(shown, f"/?token={TOKEN}", Host="board.example:1")
    cookie, *flags = given["Set-Cookie"].split("; ")
    assert (status, set(flags)) == (200, {"Path=/", "HttpOnly", "SameSite=Strict"})
    for path in ("/", "/page.js"):
        status, given, _ = ask(shown, path, Cookie=f"a=b; {cookie}", Host="board.example")
        assert (status, "Set-Cookie" in given) == (200, False)
    assert TOKEN not in shown.address
    assert TOKEN not in caplog.text
    # One line in a minute, not one for each try.
    assert caplog.text.count("without the right token") == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read (No such file"),
        ("", "16 to 256"),
        ("short", "16 to 256"),
        ("0123456789abcdef 0123", "16 to 256"),
        ("0123456789abcdef;x=y\r\nSet-Cookie: a", "16 to 256"),
        (b"\xff" * 40, "16 to 256"),
        ("a" * 300, "16 to 256"),
    ],
)
def test_a_bad_token_is_one_sentence_at_the_start_that_does_not_show_it(tmp_path: Path, content: str | bytes | None, said: str):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as error:
        Preview(PreviewSettings(token_file=str(path)), "kitchen", LABELS, MODEL)
    assert len(error.value.problems) == 1
    assert said in str(error.value)
    assert not content or str(content) not in str(error.value)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1"])
def test_what_others_can_reach_needs_a_token(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    settings = PreviewSettings(address=address, port=0)
    with pytest.raises(ConfigError, match=r"preview\.token_file is needed.*openssl rand -hex 16"):
        Preview(settings, "kitchen", LABELS, MODEL)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(ConfigError, match="is needed"):
        Preview(settings, "kitchen", LABELS, MODEL)
    (tmp_path / "preview-token").write_text(TOKEN)
    Preview(settings, "kitchen", LABELS, MODEL)


def test_an_address_that_cannot_be_listened_on_is_one_sentence(preview: Opener, token_file: str):
    taken = preview()
    for settings, said in (
        (PreviewSettings(port=port_of(taken)), "another preview.port"),
        (PreviewSettings(address="192.0.2.1", token_file=token_file), "another preview.port"),
        (PreviewSettings(address="no such host"), "127.0.0.1 always can"),
        (PreviewSettings(address="a" * 300), "127.0.0.1 always can"),
    ):
        with pytest.raises(ConfigError, match=said) as error:
            Preview(settings, "kitchen", LABELS, MODEL).start()
        assert "\n" not in str(error.value)


def test_the_other_loopback_is_local_too(preview: Opener):
    if (
        not Path("/proc/net/if_inet6").exists()
        or "00000000000000000000000000000001" not in Path("/proc/net/if_inet6").read_text()
    ):
        return
    shown = preview(address="::1")
    assert shown.address.startswith("http://[::1]:")
    with socket.create_connection(("::1", port_of(shown)), timeout=20) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: [::1]:{port_of(shown)}\r\n\r\n".encode())
        assert _rest(connection).startswith(b"HTTP/1.1 200 ")


def test_eight_pages_hear_the_news_twelve_more_are_told_to_wait_and_a_free_place_is_taken(preview: Opener):
    shown = preview()
    guests = [listen(shown) for _ in range(20)]
    lines = [said.partition(b"\r\n")[0] for _, said in guests]
    assert sorted(lines) == [b"HTTP/1.1 200 OK"] * 8 + [b"HTTP/1.1 503 Service Unavailable"] * 12
    assert ask(shown)[0] == 200
    assert ask(shown, "/events", "HEAD")[0] == 503
    for connection, _ in guests:
        connection.close()
    assert _settle(lambda: ask(shown, "/events", "HEAD")[0] == 200)
    assert _settle(lambda: _guests() == 0)


def test_more_connections_than_there_is_room_for_are_closed_at_once(preview: Opener):
    shown = preview()
    waiting = [send(shown, b"G") for _ in range(server.MOST_CONNECTIONS)]
    assert _settle(lambda: _guests() == server.MOST_CONNECTIONS)
    with send(shown, b"") as late:
        assert _rest(late) == b""
    assert _guests() == server.MOST_CONNECTIONS
    for connection in waiting:
        connection.close()
    assert _settle(lambda: _guests() == 0)
    assert ask(shown)[0] == 200


@pytest.mark.parametrize("hurry", [0.5, 60.0])
def test_a_guest_who_dawdles_is_shown_out_while_others_are_served(preview: Opener, monkeypatch: pytest.MonkeyPatch, hurry: float):
    monkeypatch.setattr(server, "HURRY", hurry)
    shown = preview()
    with send(shown, b"GET / HTTP/1.1\r\n") as slow:
        slow.settimeout(0.1)
        gone = False
        for _ in range(20):
            # A sign of life in each turn: what counts is the whole, not the pause.
            try:
                slow.sendall(b"X")
                gone = slow.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                gone = True
            if gone:
                break
        assert ask(shown)[0] == 200
        assert gone == (hurry < 1)


@pytest.mark.parametrize("patience", [0.5, 60.0])
def test_a_page_that_takes_nothing_any_more_is_given_up(preview: Opener, monkeypatch: pytest.MonkeyPatch, clock, patience: float):
    monkeypatch.setattr(server, "PATIENCE", patience)
    shown = preview()
    asleep = socket.socket()
    asleep.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    asleep.connect(("127.0.0.1", port_of(shown)))
    crowd = [(face(track), emotion("surprise", 0.5)) for track in range(1000, 1032)]
    for number in range(600):
        clock.ahead += 0.2
        shown.frame(frame(number), crowd)
    asleep.sendall(f"GET /events HTTP/1.1\r\nHost: localhost:{port_of(shown)}\r\n\r\n".encode())
    assert _settle(lambda: _guests() == 1)
    assert _settle(lambda: _guests() == 0, 3.0) == (patience < 1)
    began = time.monotonic()
    shown.stop()
    assert time.monotonic() - began < 2.5
    asleep.close()


def test_the_end_leaves_no_thread_and_no_socket_whoever_is_there(preview: Opener):
    before, files = set(threading.enumerate()), _sockets()
    shown = preview(pictures=True)
    there = [listen(shown)[0] for _ in range(8)] + [send(shown, b"GET /") for _ in range(4)]
    there.append(send(shown, f"GET /picture HTTP/1.1\r\nHost: localhost:{port_of(shown)}\r\n\r\n".encode()))
    assert _settle(lambda: _guests() == 13)
    began = time.monotonic()
    shown.stop()
    spent = time.monotonic() - began
    assert set(threading.enumerate()) == before
    for connection in there:
        connection.close()
    assert _sockets() == files
    # It promises one second; the machine that tests it may be busy.
    assert spent < 2.5
    with pytest.raises(ConnectionRefusedError):
        send(shown, b"")
    shown.stop()


def test_a_preview_that_never_started_can_be_stopped():
    Preview(PreviewSettings(), "kitchen", LABELS, MODEL).stop()


def _sockets() -> int:
    found = 0
    for file in Path("/proc/self/fd").iterdir():
        try:
            found += file.is_socket()
        except OSError:
            continue
    return found


def test_a_page_hears_the_past_then_what_is_new_and_health_only_when_it_changed(preview: Opener, clock):
    shown = preview()
    for number in range(10):
        clock.ahead += 0.2
        shown.frame(frame(number), [(face(7), emotion("happy", 0.834)), (face(8, seen=False), None)])
    shown.stats(STATS)
    shown.state(STATE)
    connection, text = listen(shown)

    def events() -> list[tuple[str, dict]]:
        nonlocal text
        connection.settimeout(20)
        text += connection.recv(1 << 16)
        return [(kind, json.loads(data)) for kind, data in re.findall(r"event: (\w+)\ndata: (.*)\n\n", text.decode())]

    while len(events()) < 4:
        pass
    kinds = dict(reversed(events()))
    assert len(kinds["hello"]["samples"]) == 10
    assert kinds["hello"]["samples"][0][1] == [[7, "happy", 83, True], [8, None, 0, False]]
    assert kinds["hello"]["frames"] == 10
    assert not kinds["hello"]["pictures"]
    assert kinds["health"]["stats"]["latency"] == {"p50": 21.04, "p95": 34.55, "p99": 52.13}
    assert kinds["health"]["device"] == "kitchen"
    assert [kind for kind, _ in events()].count("health") == 1
    clock.ahead += 1
    shown.frame(frame(11), [(face(7), emotion("sad\n\ndata: x", 0.5))])
    shown.state(STATE)
    shown.describe(("good", "bad"), "other 2.0.0 00000000")
    while not any(kind == "health" and told["labels"] == ["good", "bad"] for kind, told in events()):
        pass
    ticks = [told for kind, told in events() if kind == "tick" and told["samples"]]
    assert [told["samples"][0][1] for told in ticks] == [[[7, "sad\n\ndata: x", 50, True]]]
    connection.close()
