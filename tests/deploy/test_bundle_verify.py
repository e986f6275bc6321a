"""A bundle is believed when every byte of it is accounted for, and nothing of any other gets out of its archive."""

from __future__ import annotations

import io
import json
import lzma
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from deploying import MODEL, ROOT, store

from converters.cli.bundle import main
from converters.deploy.bundle import Request, build
from converters.deploy.targets import TARGETS
from converters.deploy.verify import unpack, verify
from edge.errors import DeployError

TOP = "emotion-edge-0.1.0-pi-bookworm64"
Members = list[tuple[tarfile.TarInfo, bytes]]
FLIPS = 60


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle as edge-bundle makes it."""
    folder = tmp_path_factory.mktemp("bundle")
    parts = store(folder, TARGETS["pi-bookworm64"])
    path = folder / "b.tar.xz"
    build(Request(TARGETS["pi-bookworm64"], MODEL, path, ROOT, weights=None, wheels=parts.wheels, own=parts.own, lock=parts.lock))
    return path


def entry(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = len(content), kind, link
    return member, content


def rewrite(source: Path, target: Path, change: Callable[[Members], Members]) -> Path:
    """The same archive with something changed in it, packed so that xz itself has nothing to say."""
    with tarfile.open(source) as file:
        members = [(member, file.extractfile(member).read() if member.isfile() else b"") for member in file]
    with tarfile.open(target, "w:xz", preset=0) as file:
        for member, content in change(members):
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return target


def edited(name: str, change: Callable[[bytes], bytes]) -> Callable[[Members], Members]:
    return lambda members: [(m, change(c) if m.name == f"{TOP}/{name}" else c) for m, c in members]


def without(name: str) -> Callable[[Members], Members]:
    return lambda members: [(m, c) for m, c in members if m.name != f"{TOP}/{name}"]


def adding(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[Members], Members]:
    return lambda members: [*members, entry(name, b"x" if kind == tarfile.REGTYPE else b"", kind, link)]


def described(**changes: object) -> Callable[[Members], Members]:
    return edited("bundle.json", lambda text: json.dumps(json.loads(text) | changes).encode())


def _consistent(name: str, change: Callable[[bytes], bytes]) -> Callable[[Members], Members]:
    """A change that bundle.json knows of."""

    def apply(members: Members) -> Members:
        import hashlib

        members = edited(name, change)(members)
        content = next(c for m, c in members if m.name == f"{TOP}/{name}")
        fact = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        files = json.loads(next(c for m, c in members if m.name == f"{TOP}/bundle.json"))["files"]
        return described(files=files | {name: fact})(members)

    return apply


def _flip(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def test_what_nobody_touched_is_good(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The control of all below: packed again without a change."""
    again = rewrite(whole, tmp_path / "b.tar.xz", lambda members: members)
    assert verify(again) == verify(whole)
    assert main(["--verify", str(again)]) == 0
    assert "files, every one as it was built" in capsys.readouterr().out


BAD = {
    "a flipped byte": (edited("models/model.tflite", _flip), "models/model.tflite is damaged"),
    "a shorter file": (edited("install.sh", lambda text: text[:-1]), "install.sh is damaged"),
    "a missing file": (without("config.toml"), "config.toml is missing"),
    "a file too many": (adding(f"{TOP}/wheels/evil.whl"), "wheels/evil.whl does not belong to it"),
    "the same file twice": (adding(f"{TOP}/install.sh"), "install.sh stands in it twice"),
    "a way out": (adding(f"{TOP}/../../evil"), "leads out of the folder"),
    "an absolute path": (adding("/tmp/evil"), "leads out of the folder"),
    "another folder": (adding("evil/file"), "lies outside the bundle's folder"),
    "a file beside the folder": (adding(TOP), "lies outside the bundle's folder"),
    "a symbolic link": (adding(f"{TOP}/link", tarfile.SYMTYPE, "/etc/passwd"), "is a link or a device"),
    "a hard link": (adding(f"{TOP}/link", tarfile.LNKTYPE, f"{TOP}/install.sh"), "is a link or a device"),
    "a device": (adding(f"{TOP}/null", tarfile.CHRTYPE), "is a link or a device"),
    "no description": (without("bundle.json"), "no bundle.json in it"),
    "another format": (described(format=2), "bundle format 2; this version reads format 1"),
    "an unknown key": (described(extra=1), "its bundle.json cannot be read"),
    "no JSON": (edited("bundle.json", lambda _: b"{"), "its bundle.json cannot be read"),
    "an unknown board": (described(target="pi9"), "made for 'pi9'"),
    "another processor": (described(machine="x86_64"), "made for Python 3.11, x86_64, glibc 2.36"),
    "another folder's name": (described(version="9.9"), f"its folder is '{TOP}'"),
    "packages that nobody asked for": (_consistent("requirements.txt", lambda _: b""), "do not name the same packages"),
    "a manifest of another model": (
        _consistent("models/model.tflite.json", lambda text: text.replace(b'"sha256": "', b'"sha256": "0', 1)[:-1]),
        "is not a model manifest",
    ),
    "a model that its manifest does not know": (_consistent("models/model.tflite", _flip), "does not describe the model"),
    "another model's identity": (described(model="big 1.0 00000000"), "its model 'big 1.0 00000000' is not in it"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bundle_that_is_not_as_it_was_built_is_refused(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    change, told = BAD[name]
    bad = rewrite(whole, tmp_path / "b.tar.xz", change)
    assert main(["--verify", str(bad)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    with pytest.raises(DeployError):
        unpack(bad, tmp_path / "there" / "deep")
    # Neither the folder, nor a half of it, nor what wanted to lie beside it.
    assert {path.name for path in tmp_path.rglob("*")} == {"b.tar.xz", "there"}


def test_a_flipped_byte_anywhere_is_noticed(whole: Path, tmp_path: Path, full: bool) -> None:
    content = whole.read_bytes()
    places = random.Random(6).sample(range(len(content)), FLIPS * (50 if full else 1))
    # The first and last bytes are the archive's own frame, which a reader of the files alone would not see.
    for place in {*places, *range(24), *range(len(content) - 48, len(content))}:
        flipped = bytearray(content)
        flipped[place] ^= 1 << (place % 8)
        (tmp_path / "b.tar.xz").write_bytes(flipped)
        with pytest.raises(DeployError):
            verify(tmp_path / "b.tar.xz")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "damaged or no bundle"),
        (b"just text", "damaged or no bundle"),
        (lzma.compress(b"just text"), "damaged or no bundle"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_bundle_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, told: str
) -> None:
    if content is not None:
        (tmp_path / "b.tar.xz").write_bytes(content)
    assert main(["--verify", str(tmp_path / "b.tar.xz")]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_truncated_one_and_one_with_something_behind_it(whole: Path, tmp_path: Path) -> None:
    content = whole.read_bytes()
    for other in (content[: len(content) // 2], content[:-1], content + b"\0", content + content):
        (tmp_path / "b.tar.xz").write_bytes(other)
        with pytest.raises(DeployError, match=r"damaged or no bundle"):
            verify(tmp_path / "b.tar.xz")


def test_an_endless_file_fills_no_disk(whole: Path, tmp_path: Path) -> None:
    """A few kilobytes that say they are ten gigabytes: refused by what they say, before they are read."""

    def bomb(members: Members) -> Members:
        return [members[0], entry(f"{TOP}/big")]

    small = rewrite(whole, tmp_path / "s.tar.xz", bomb)
    tar = bytearray(lzma.decompress(small.read_bytes()))
    header = tarfile.TarInfo(f"{TOP}/big")
    header.size = 7_000_000_000
    tar[512:1024] = header.tobuf(tarfile.USTAR_FORMAT)
    (tmp_path / "b.tar.xz").write_bytes(lzma.compress(bytes(tar), preset=0))
    with pytest.raises(DeployError, match="larger than any bundle"):
        verify(tmp_path / "b.tar.xz")


def test_an_interrupted_unpacking_is_done_again(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "there.part" / "wheels").mkdir(parents=True)
    (tmp_path / "there.part" / "wheels" / "half.whl").write_bytes(b"half")
    unpack(whole, tmp_path / "there")
    assert not (tmp_path / "there" / "wheels" / "half.whl").exists()
    with pytest.raises(DeployError, match="is there already"):
        unpack(whole, tmp_path / "there")
