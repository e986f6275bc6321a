"""Keys, models and packages, made of the smaller model that comes with emotion-edge."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from deploying import MODEL

from converters.deploy.model_package import load_private_key, make_keys, pack
from edge.emotion.manifest import manifest_path
from edge.update.package import CHUNK, OFFER, PIECE, Chunk, Entry, Head, Package, open_seal, read_seal, signed_part, write_chunk
from edge.update.updates import Updates

SMALL_MODEL = MODEL


class Owner:
    """Somebody with a pair of keys.

    Attributes:
        private, public: where they are.
    """

    def __init__(self, folder: Path, name: str = "owner") -> None:
        self.private = folder / f"{name}.key"
        self.public = make_keys(self.private)
        self.key = load_private_key(self.private)

    def pack(self, folder: Path, version: str = "1.1.0", counter: int = 100, **changes: Any) -> bytes:
        """The small model under another version, as a signed package."""
        return pack(copy_model(folder, version, **changes), self.key, counter)[1]

    def sign(self, head: Head, files: bytes) -> bytes:
        """Anything at all, signed."""
        return signed_part(head) + self.key.sign(signed_part(head)) + files

    def sign_model(self, folder: Path, counter: int, version: str = "1.5.0", **changes: Any) -> bytes:
        """A package that `pack` would not have made: nothing was checked."""
        model = copy_model(folder, version, **changes)
        entries = [(path.name, path.read_bytes()) for path in (model, manifest_path(model))]
        head = Head(1, "micro", "1.5.0", counter, tuple(entry(name, data) for name, data in entries))
        return self.sign(head, b"".join(data for _, data in entries))

    def open(self, content: bytes) -> Package:
        """What a package is, to somebody who knows the key."""
        return open_seal(read_seal(content), self.key.public_key())


def copy_model(folder: Path, version: str, **changes: Any) -> Path:
    """The small model with another manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    model = Path(shutil.copy(SMALL_MODEL, folder))
    manifest = json.loads(manifest_path(SMALL_MODEL).read_text())
    manifest_path(model).write_text(json.dumps({**manifest, "version": version, **changes}))
    return model


def damage(slot: Path) -> None:
    """Flip a bit of a slot's model."""
    model = slot / SMALL_MODEL.name
    content = bytearray(model.read_bytes())
    content[1000] ^= 1
    model.write_bytes(content)


def hear_all(updates: Updates, content: bytes, package: Package) -> None:
    """Offer a package and send all of it."""
    updates.hear(OFFER, package.seal, False)
    for number in range(package.head.chunks):
        hear_chunk(updates, content, package, number)


def hear_chunk(updates: Updates, content: bytes, package: Package, number: int) -> None:
    """Send one piece of a package."""
    data = content[len(package.seal) :][number * CHUNK : (number + 1) * CHUNK]
    updates.hear(PIECE, write_chunk(Chunk(package.id, number, data)), False)


def entry(name: str, data: bytes) -> Entry:
    """A file's entry in a head."""
    return Entry(name, len(data), hashlib.sha256(data).hexdigest())
