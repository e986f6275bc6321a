"""A signed model package: the one format that the workstation writes and the device takes, as a file and in pieces over MQTT.

     8 bytes    MAGIC
     4 bytes    length of the head, big-endian
     head       JSON: the model's name and version, a counter, and name, size and sha256 of both files
    64 bytes    Ed25519 signature (RFC 8032) over all before it
     the model, then its manifest

What stands before the files is the *seal*. It is sent first and alone: whoever has not the owner's private key gets no byte onto
the device's disk. The signature comes from the package `cryptography` on both sides; it is imported where it is needed.
"""

from __future__ import annotations

import hashlib
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import msgspec

from edge.emotion.manifest import manifest_path
from edge.errors import RuntimeMissingError, UpdateError, first_line

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAGIC = b"EDGEMDL1"
FORMAT = 1
SIGNATURE_BYTES = 64
# A head has 500 bytes; the limit keeps it within one MQTT message.
MAX_HEAD = 16 * 1024
# Model and manifest together. A ResNet-18 in float has 45 MB.
MAX_BYTES = 64 * 1024 * 1024
# Of the files, in one message. With MQTT 5 the broker keeps what is above 64 KB from a device.
CHUNK = 32 * 1024
# Chunks under way before the device has said that it has the first of them.
WINDOW = 8
# The last level of the topics `<prefix>/<device>/update/…`; answers come on `<prefix>/<device>/reply/update`.
BRANCH, OFFER, PIECE, STATUS = "update", "offer", "chunk", "status"

_LENGTH = struct.Struct(">I")
_CHUNK_HEAD = struct.Struct(">16sI")
_VERSION = re.compile(r"\d{1,9}(\.\d{1,9}){0,5}")

FileName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,120}\Z")]
Phase = Literal["idle", "receiving", "checking", "trial"]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a package."""

    name: FileName
    size: Annotated[int, msgspec.Meta(ge=1, le=MAX_BYTES)]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the owner has signed.

    Attributes:
        name, version: of the model, as its manifest says.
        counter: a device takes no package whose counter is not above that of the last one it has kept.
        files: the model, then its manifest.
    """

    format: int
    name: str
    version: str
    counter: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    files: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """Of both files."""
        return sum(entry.size for entry in self.files)

    @property
    def chunks(self) -> int:
        """Messages that carry the files."""
        return -(-self.size // CHUNK)

    @property
    def identity(self) -> str:
        """As events name the model."""
        return f"{self.name} {self.version} {self.files[0].sha256[:8]}"


class Package(NamedTuple):
    """A package, as its seal describes it; `open_seal` alone makes one whose signature was found good.

    Attributes:
        seal: all before the files.
        id: 32 hexadecimal digits that name exactly this package.
    """

    head: Head
    seal: bytes
    id: str


class Chunk(NamedTuple):
    """A piece of the files.

    Attributes:
        package: id of the package.
        number: from 0; it begins at byte `number * CHUNK`.
    """

    package: str
    number: int
    data: bytes


class Installed(msgspec.Struct, frozen=True):
    """A package in a slot."""

    slot: Literal["a", "b"]
    package: str
    counter: int
    name: str
    version: str
    model: FileName


class Outcome(msgspec.Struct, frozen=True):
    """How an update has ended."""

    package: str
    ok: bool
    text: str


class Progress(msgspec.Struct, frozen=True):
    """What a device says of its updates, on `reply/update`.

    Attributes:
        phase: `receiving` chunks, `checking` what has come, on `trial`; else `idle`.
        running: the model that speaks now.
        counter: a package must have a greater one.
        package: what this is about, if anything.
        next: the first chunk that is not there yet. chunks: how many there are.
        again: chunks that came although they were there.
        committed: what the device runs for good; None when that is the model of its settings.
        outcome: how the last update has ended.
        token: that of the question, where there was one.
    """

    phase: Phase
    running: str
    counter: int
    package: str | None = None
    next: int = 0
    chunks: int = 0
    again: int = 0
    committed: Installed | None = None
    outcome: Outcome | None = None
    token: str | None = None


def signed_part(head: Head) -> bytes:
    """What is to be signed."""
    text = msgspec.json.encode(head)
    return MAGIC + _LENGTH.pack(len(text)) + text


def package_id(signed: bytes) -> str:
    """The name of a package: the first half of the sha256 of what was signed."""
    return hashlib.sha256(signed).hexdigest()[:32]


def read_seal(content: bytes) -> bytes:
    """Cut the seal off the beginning of a package, without judging it.

    Raises:
        UpdateError: this is no package, or it is too short.
    """
    start = len(MAGIC) + _LENGTH.size
    if content[: len(MAGIC)] != MAGIC or len(content) < start:
        raise UpdateError("this is no model package; edge-model pack makes one")
    length = _LENGTH.unpack_from(content, len(MAGIC))[0]
    end = start + length + SIGNATURE_BYTES
    if length > MAX_HEAD:
        raise UpdateError(f"the package's head has {length} bytes; at most {MAX_HEAD} are taken")
    if len(content) < end:
        raise UpdateError("the package is cut off within its head; copy or send it again")
    return content[:end]


def open_seal(seal: bytes, key: Ed25519PublicKey) -> Package:
    """Verify the signature, then, and only then, read what was signed.

    Raises:
        UpdateError: not a seal, not signed by this key, or a head that this version does not take.
    """
    from cryptography.exceptions import InvalidSignature

    if read_seal(seal) != seal:
        raise UpdateError("the package's head is followed by something else; send it with edge-model push")
    signed = seal[:-SIGNATURE_BYTES]
    try:
        key.verify(seal[-SIGNATURE_BYTES:], signed)
    except InvalidSignature:
        raise UpdateError("the package is not signed by the key that this device trusts ([update] key_file)") from None
    return Package(read_head(seal), seal, package_id(signed))


def read_head(seal: bytes) -> Head:
    """What a seal says, whoever has signed it: for the workstation; a device calls `open_seal`.

    Raises:
        UpdateError: a head that this version does not take.
    """
    try:
        head = msgspec.json.decode(seal[len(MAGIC) + _LENGTH.size : -SIGNATURE_BYTES], type=Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpdateError(f"the package's head cannot be read ({first_line(error)}); pack it with this version") from None
    check_head(head)
    return head


def check_head(head: Head) -> None:
    """Hold a head against the rules.

    Raises:
        UpdateError: another format, no manifest, a version that cannot be compared, or too big.
    """
    if head.format != FORMAT:
        raise UpdateError(f"package format {head.format}; this version takes format {FORMAT}")
    names = [entry.name for entry in head.files]
    if not names or Path(names[0]).suffix not in (".tflite", ".onnx"):
        raise UpdateError("the package holds no .tflite or .onnx model")
    manifest = manifest_path(Path(names[0])).name
    if names[1:] != [manifest]:
        raise UpdateError(f"the package must hold {names[0]} and its manifest {manifest}, and nothing else")
    if version_numbers(head.version) is None:
        raise UpdateError(f"version {head.version!r} cannot be compared with others; give it one such as 1.2.0")
    if head.size > MAX_BYTES:
        raise UpdateError(f"the package has {head.size:,} bytes; at most {MAX_BYTES:,} are taken")


def version_numbers(version: str) -> tuple[int, ...] | None:
    """1.10.0 -> (1, 10), so that 1.10 is above 1.9 and equal to 1.10.0; None for what is no such version."""
    if not _VERSION.fullmatch(version):
        return None
    numbers = [int(part) for part in version.split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def load_public_key(path: Path) -> Ed25519PublicKey:
    """Read the owner's public key.

    Raises:
        UpdateError: the file cannot be read, or is no Ed25519 public key.
        RuntimeMissingError: `cryptography` is not installed.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError:
        raise RuntimeMissingError(
            "signed models need the package cryptography; install emotion-edge[update], or leave out [update] key_file"
        ) from None
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise UpdateError(f"{path}: the public key cannot be read ({error.strerror}); edge-model keygen makes one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UpdateError(f"{path}: not a public key in PEM; edge-model keygen makes one") from None
    if not isinstance(key, Ed25519PublicKey):
        raise UpdateError(f"{path}: another kind of key; an Ed25519 key is needed, edge-model keygen makes one")
    return key


def chunk_bytes(head: Head, number: int) -> int:
    """How many bytes a chunk has; the last one has what is left."""
    return min(CHUNK, head.size - number * CHUNK)


def write_chunk(chunk: Chunk) -> bytes:
    """A chunk as a message."""
    return _CHUNK_HEAD.pack(bytes.fromhex(chunk.package), chunk.number) + chunk.data


def read_chunk(payload: bytes) -> Chunk:
    """A message as a chunk.

    Raises:
        UpdateError: too short or too long.
    """
    if not _CHUNK_HEAD.size < len(payload) <= _CHUNK_HEAD.size + CHUNK:
        raise UpdateError(f"a chunk has 20 bytes of address and 1 to {CHUNK} bytes; this message has {len(payload)}")
    name, number = _CHUNK_HEAD.unpack_from(payload)
    return Chunk(name.hex(), number, payload[_CHUNK_HEAD.size :])
