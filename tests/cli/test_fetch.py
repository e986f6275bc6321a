"""edge-fetch: pinned size and sha256, resume, and nothing wrong ever gets the name under which it would be used."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from edge.cli.fetch import main
from edge.errors import FetchError
from edge.fetch import ASSETS, Asset, fetch

CONTENT = np.random.default_rng(0).integers(0, 256, 200_000, dtype=np.uint8).tobytes()
ASSET = Asset("thing", "thing.onnx", "", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), "MIT", "a thing for tests")


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT: /ranges with Range, /plain without, /cut breaks off half way, /other is longer, /short is a page."""

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.path in ("/ranges", "/cut") else 0
        body = {"/other": CONTENT + b"x" * 500_000, "/short": b"<html>log in</html>"}.get(self.path, CONTENT)
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        # Who has seen enough hangs up.
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body[start : len(body) // 2] if self.path == "/cut" else body[start:])

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.asked = []
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield http
        http.shutdown()
        thread.join()


def url(server: ThreadingHTTPServer, path: str) -> str:
    server.asked.clear()
    return f"http://127.0.0.1:{server.server_port}{path}"


def test_a_download_is_verified_and_reports_its_progress(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = fetch(ASSET, url(server, "/ranges"), tmp_path / "new" / "folder", lambda done, size: seen.append((done, size)))
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["thing.onnx"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    assert len(seen) > 2


def test_a_broken_download_goes_on_where_it_stopped(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="broke off at 100,000 of 200,000 bytes; the same command goes on"):
        fetch(ASSET, url(server, "/cut"), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thing.onnx.part"]
    assert fetch(ASSET, url(server, "/ranges"), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=100000-"]


def test_a_server_without_ranges_starts_over(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / "thing.onnx.part").write_bytes(CONTENT[:1000])
    assert fetch(ASSET, url(server, "/plain"), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-"]


@pytest.mark.parametrize("part", [b"x" * 1000, b"x" * len(CONTENT), CONTENT + b"x"])
def test_a_wrong_part_is_replaced_by_the_servers_whole_file(server: ThreadingHTTPServer, tmp_path: Path, part: bytes) -> None:
    (tmp_path / "thing.onnx.part").write_bytes(part)
    assert fetch(ASSET, url(server, "/ranges"), tmp_path).read_bytes() == CONTENT
    assert [p.name for p in tmp_path.iterdir()] == ["thing.onnx"]


@pytest.mark.parametrize(("path", "told"), [("/other", "200,001 bytes"), ("/short", "19 bytes"), ("/missing", "404")])
def test_what_is_not_the_asset_is_refused_and_leaves_nothing(
    server: ThreadingHTTPServer, tmp_path: Path, path: str, told: str
) -> None:
    with pytest.raises(FetchError, match=told):
        fetch(ASSET, url(server, path), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_right_size_with_one_wrong_bit_is_refused_and_the_good_one_stays(tmp_path: Path) -> None:
    wrong, folder = tmp_path / "wrong.onnx", tmp_path / "cache"
    wrong.write_bytes(bytes([CONTENT[0] ^ 1]) + CONTENT[1:])
    folder.mkdir()
    (folder / "thing.onnx").write_bytes(CONTENT)
    with pytest.raises(FetchError, match="sha256"):
        fetch(ASSET, str(wrong), folder)
    assert [p.name for p in folder.iterdir()] == ["thing.onnx"]
    assert (folder / "thing.onnx").read_bytes() == CONTENT


def test_a_local_file_is_taken(tmp_path: Path) -> None:
    (tmp_path / "mine.bin").write_bytes(CONTENT)
    assert fetch(ASSET, str(tmp_path / "mine.bin"), tmp_path / "cache").read_bytes() == CONTENT


def test_nobody_there_is_one_plain_line(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(FetchError, match=r"cannot be reached.*--from") as told:
        fetch(ASSET, f"http://127.0.0.1:{port}/", tmp_path)
    assert "\n" not in str(told.value)


def test_a_folder_that_cannot_be_made_is_one_plain_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "mine.bin").write_bytes(CONTENT)
    with pytest.raises(FetchError, match="file"):
        fetch(ASSET, str(tmp_path / "mine.bin"), tmp_path / "file" / "folder")


def test_the_pins_are_whole() -> None:
    for asset in ASSETS:
        assert asset.url.startswith("https://")
        assert len(bytes.fromhex(asset.sha256)) == 32


def test_the_command_lists_refuses_and_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--to", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    assert "yunet" in listed
    assert "MIT" in listed
    assert "not here" in listed
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(b"x" * ASSETS[0].size)
    assert main(["yunet", "--from", str(wrong), "--to", str(tmp_path / "cache")]) == 2
    told = capsys.readouterr().err
    assert "sha256" in told
    assert told.count("\n") == 1
    assert list((tmp_path / "cache").iterdir()) == []
    assert main(["yuent", "--to", str(tmp_path)]) == 2
    assert "known are yunet" in capsys.readouterr().err


def test_a_failed_force_keeps_what_was_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = tmp_path / ASSETS[0].file
    old.write_bytes(b"an older export")
    assert main(["yunet", "--from", str(tmp_path / "none.onnx"), "--to", str(tmp_path), "--force"]) == 2
    assert "none.onnx" in capsys.readouterr().err
    assert old.read_bytes() == b"an older export"
