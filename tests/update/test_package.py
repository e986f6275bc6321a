"""A package is taken by its signature, and its files by what was signed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_packages import Owner, copy_model, entry

from converters.cli.model import main
from edge.emotion.classify import DEFAULT_MODEL
from edge.errors import DataError, ModelError, UpdateError
from edge.update.package import (
    CHUNK,
    MAX_BYTES,
    Chunk,
    Entry,
    Head,
    load_public_key,
    open_seal,
    read_chunk,
    read_seal,
    version_numbers,
    write_chunk,
)


@pytest.fixture(scope="module")
def content(owner: Owner, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return owner.pack(tmp_path_factory.mktemp("model"))


def test_the_same_inputs_give_the_same_package_and_openssl_agrees_with_its_signature(
    owner: Owner, content: bytes, tmp_path: Path
) -> None:
    assert owner.pack(tmp_path) == content
    seal = read_seal(content)
    (tmp_path / "signed").write_bytes(seal[:-64])
    (tmp_path / "signature").write_bytes(seal[-64:])
    files = ["-in", "signed", "-sigfile", "signature"]
    verify = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(owner.public), "-rawin", *files]
    assert subprocess.run(verify, cwd=tmp_path, capture_output=True).returncode == 0
    (tmp_path / "signed").write_bytes(seal[:-64] + b" ")
    assert subprocess.run(verify, cwd=tmp_path, capture_output=True).returncode == 1


def test_no_bit_of_the_seal_can_be_changed(owner: Owner, content: bytes) -> None:
    seal, key = read_seal(content), owner.key.public_key()
    for position in range(len(seal)):
        changed = bytearray(seal)
        changed[position] ^= 1 << position % 8
        with pytest.raises(UpdateError):
            open_seal(bytes(changed), key)
    for length in range(len(seal)):
        with pytest.raises(UpdateError):
            open_seal(seal[:length], key)
    assert open_seal(seal, key).head.version == "1.1.0"


def test_somebody_elses_key_is_not_the_owners(owner: Owner, content: bytes, tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match="not signed by the key"):
        open_seal(read_seal(content), Owner(tmp_path).key.public_key())


@given(junk=st.binary(max_size=3000))
def test_anything_that_is_no_seal_is_one_error(junk: bytes) -> None:
    key = KEY.public_key()
    for blob in (junk, b"EDGEMDL1" + junk, b"EDGEMDL1\0\0\0\x05" + junk):
        with pytest.raises(UpdateError):
            open_seal(blob, key)


def _key() -> object:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate()


KEY = _key()
MODEL, MANIFEST = entry("m.tflite", b"model"), entry("m.tflite.json", b"{}")


@pytest.mark.parametrize(
    ("files", "version", "counter", "why"),
    [
        ((MODEL,), "1.0", 1, "its manifest m.tflite.json, and nothing else"),
        ((MODEL, entry("other.json", b"{}")), "1.0", 1, "its manifest m.tflite.json"),
        ((MODEL, MANIFEST, entry("more", b"x")), "1.0", 1, "nothing else"),
        ((), "1.0", 1, "no .tflite or .onnx model"),
        ((entry("m.sh", b"rm"), entry("m.sh.json", b"{}")), "1.0", 1, "no .tflite or .onnx model"),
        ((entry("../m.tflite", b"model"), MANIFEST), "1.0", 1, "cannot be read"),
        ((entry(".tflite", b"model"), MANIFEST), "1.0", 1, "cannot be read"),
        ((MODEL, MANIFEST), "latest", 1, "cannot be compared"),
        ((MODEL, MANIFEST), "1.0", 0, "cannot be read"),
        ((Entry("m.tflite", MAX_BYTES, "0" * 64), MANIFEST), "1.0", 1, "at most"),
    ],
)
def test_what_the_owner_signs_by_mistake_is_refused_too(
    owner: Owner, files: tuple[Entry, ...], version: str, counter: int, why: str
) -> None:
    with pytest.raises(UpdateError, match=why):
        owner.open(owner.sign(Head(1, "m", version, counter, files), b""))


def test_versions_are_compared_as_numbers() -> None:
    ordered = ["0.9", "1", "1.0.1", "1.9", "1.10", "2"]
    assert sorted(ordered, key=lambda text: version_numbers(text) or ()) == ordered
    assert version_numbers("1.10") == version_numbers("1.10.0")
    assert version_numbers("1.0-rc1") is version_numbers("") is version_numbers("1..2") is None


def test_a_chunk_is_what_it_was() -> None:
    chunk = Chunk("ab" * 16, 7, b"x" * CHUNK)
    assert read_chunk(write_chunk(chunk)) == chunk
    for payload in (b"", b"x" * 20, b"x" * (21 + CHUNK)):
        with pytest.raises(UpdateError, match="a chunk has"):
            read_chunk(payload)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    status = main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return status, shown.err if status else shown.out


def test_keys_and_packages_are_made_by_two_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "words").write_text("correct horse\n")
    private = tmp_path / "keys" / "owner.key"
    encrypted = ["--passphrase-file", tmp_path / "words"]
    assert run(capsys, "keygen", "-o", private, *encrypted)[0] == 0
    assert private.stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED" in private.read_bytes()
    model = copy_model(tmp_path / "model", "1.2.0")
    assert run(capsys, "pack", model, "--key", private, *encrypted, "--counter", 5)[0] == 0
    made = model.with_name("micro.int8-1.2.0.edgemodel")
    head = open_seal(read_seal(made.read_bytes()), load_public_key(private.with_suffix(".pub"))).head
    assert (head.name, head.version, head.counter) == ("micro", "1.2.0", 5)
    (tmp_path / "latin").write_bytes("grün".encode("latin-1"))
    cam = ["--broker", "localhost:1", "--device", "cam"]
    for arguments, why in (
        (["keygen", "-o", private], "exists already, and devices may trust it"),
        (["pack", model, "--key", private], "is encrypted; add --passphrase-file"),
        (["pack", model, "--key", private, *encrypted], "exists already; add --force"),
        (["pack", model, "--key", private.with_suffix(".pub")], "not a private key"),
        (["pack", tmp_path / "none.tflite", "--key", private, *encrypted], "no such file"),
        (["push", made, "--broker", "localhost:0x", "--device", "cam"], "expected HOST or HOST:PORT"),
        (["push", made, "--broker", "localhost", "--device", "a/b"], "--mqtt-device = 'a/b': expected a topic name without"),
        (["push", model, "--broker", "localhost", "--device", "cam"], "this is no model package"),
        (["push", made, "--broker", "127.0.0.1:1", "--device", "cam"], "cannot be reached"),
        (["push", made, "--broker", "localhost"], "--device"),
        (["push", made, "--broker", ":1883", "--device", "cam"], "expected HOST or HOST:PORT"),
        (["push", made, *cam, "--device", "b c"], "--mqtt-device = 'b c': expected a topic name without"),
        (["push", made, *cam, "--prefix", "x/#"], "--mqtt-prefix = 'x/#': expected a topic name without"),
        (["push", made, *cam, "--cert-key-file", private], "mqtt.cert_file and mqtt.key_file go together"),
        (["push", made, *cam, "--ca-file", private], "need mqtt.tls"),
        (["push", made, *cam, "--tls", "--ca-file", made], ".edgemodel cannot be used"),
        (["push", made, *cam, "--username", "me", "--password-file", tmp_path / "latin"], "is not UTF-8 text"),
        (["push", made, *cam, "--password-file", tmp_path / "words"], "needs mqtt.username"),
        (["push", made, *cam, "--patience", "nan"], "is not a number above 0"),
        (["puhs"], "see edge-model --help"),
    ):
        status, shown = run(capsys, *arguments)
        assert status == 2
        assert why in shown
        assert len(shown.splitlines()) == 1
        assert "Traceback" not in shown


def test_what_the_device_would_refuse_is_not_packed(owner: Owner, tmp_path: Path) -> None:
    model = copy_model(tmp_path / "a", "1.0.0", golden=[{"rule": f"v1:{n}", "scores": [1, 0, 0, 0, 0, 0, 0]} for n in range(3)])
    from converters.deploy.model_package import load_private_key, pack, read_package

    with pytest.raises(ModelError, match="computes other scores"):
        pack(model, owner.key)
    with pytest.raises(UpdateError, match="cannot be compared"):
        pack(copy_model(tmp_path / "b", "new"), owner.key)
    alone = tmp_path / "alone.int8.tflite"
    alone.write_bytes(DEFAULT_MODEL.read_bytes())
    with pytest.raises(ModelError, match="manifest cannot be read"):
        pack(alone, owner.key)
    good = owner.pack(tmp_path / "c")
    for name, content in (("cut", good[:-1]), ("long", good + b"x"), ("flipped", good[:-1] + bytes([good[-1] ^ 1]))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UpdateError, match=f"{name}: "):
            read_package(tmp_path / name)
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed448", "-out", tmp_path / "ed448"], check=True, capture_output=True)
    with pytest.raises(DataError, match="another kind of key"):
        load_private_key(tmp_path / "ed448")
