"""Keys, and model packages signed with them. The format is edge.update.package; the cryptography is the package of that name."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from converters.outputs import check_free, write_all
from edge.config import ModelSettings, TensorRtSettings
from edge.emotion.manifest import manifest_path, read_manifest
from edge.emotion.open import open_models
from edge.errors import DataError, RuntimeMissingError, UpdateError
from edge.update.package import (
    FORMAT,
    SIGNATURE_BYTES,
    Entry,
    Head,
    Package,
    check_head,
    open_seal,
    package_id,
    read_head,
    read_seal,
    signed_part,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SUFFIX = ".edgemodel"


def make_keys(private: Path, passphrase: bytes | None = None) -> Path:
    """Make a pair of keys; an existing one is never replaced, because every device trusts its public half.

    Args:
        private: where the private key goes, readable for its owner alone.
        passphrase: to encrypt it with.

    Returns:
        Where the public key is: beside it, ending in .pub.

    Raises:
        DataError: one of the two exists already, or the folder cannot be written.
        RuntimeMissingError: `cryptography` is not installed.
    """
    _need_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    public = private.with_suffix(".pub")
    if public == private:
        raise DataError(f"{private}: is the name of the public key; give the private one another ending, such as .key")
    for path in (private, public):
        if path.exists():
            raise DataError(f"{path}: exists already, and devices may trust it; give another place with -o")
    key = Ed25519PrivateKey.generate()
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    try:
        private.parent.mkdir(parents=True, exist_ok=True)
        # Private from its first moment, not after a chmod.
        descriptor = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    except OSError as error:
        raise DataError(f"{error.filename or private}: cannot be written ({error.strerror})") from None
    return public


def load_private_key(path: Path, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """Read the owner's private key.

    Raises:
        DataError: it cannot be read, is of another kind, or the pass phrase is missing or wrong.
        RuntimeMissingError: `cryptography` is not installed.
    """
    _need_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), passphrase)
    except OSError as error:
        raise DataError(f"{path}: the private key cannot be read ({error.strerror}); edge-model keygen makes one") from None
    except TypeError:
        # Whichever of the two it is: a key in the clear, or one that is not.
        wrong = "is not encrypted; leave out --passphrase-file" if passphrase else "is encrypted; add --passphrase-file"
        raise DataError(f"{path}: the private key {wrong}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise DataError(f"{path}: not a private key in PEM, or the pass phrase is wrong") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise DataError(f"{path}: another kind of key; an Ed25519 key is needed, edge-model keygen makes one")
    return key


def pack(model: Path, key: Ed25519PrivateKey, counter: int | None = None) -> tuple[Package, bytes]:
    """Put a model and its manifest into a signed package. The same inputs give the same bytes.

    Args:
        model: a .tflite or .onnx beside its manifest; it is opened and held against its golden scores first.
        counter: must grow from package to package; without it the seconds since 1970, which do.

    Returns:
        What it says, and all of its bytes.

    Raises:
        EmotionEdgeError: the model does not fit its manifest, or no device would take it.
    """
    # As a device will do it, except for the board's own runtime.
    open_models(ModelSettings(path=str(model)), TensorRtSettings(use="off"))
    manifest = read_manifest(manifest_path(model))
    content = (model.read_bytes(), manifest_path(model).read_bytes())
    names = (model.name, manifest_path(model).name)
    head = Head(
        format=FORMAT,
        name=manifest.name,
        version=manifest.version,
        counter=int(time.time()) if counter is None else counter,
        files=tuple(Entry(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in zip(names, content, strict=True)),
    )
    # Reading it back finds all of this too, but calls a model that is too big a head that cannot be read.
    check_head(head)
    seal = signed_part(head) + key.sign(signed_part(head))
    # The names and numbers are checked where they are read: as every device will do it.
    return open_seal(seal, key.public_key()), seal + b"".join(content)


def write_package(package: bytes, path: Path, force: bool = False) -> None:
    """Write a package, whole or not at all.

    Raises:
        DataError: the file exists and `force` is not given, or the folder cannot be written.
    """
    check_free([path], force)
    write_all({path: package})


def read_package(path: Path) -> tuple[Package, bytes]:
    """Read a package and hold its files against its seal; the signature is the device's business.

    Returns:
        What it says, and all of its bytes.

    Raises:
        DataError: it cannot be read.
        UpdateError: it is no package, or damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        seal = read_seal(content)
        head = read_head(seal)
        start = len(seal)
        for entry in head.files:
            data = content[start : start + entry.size]
            if hashlib.sha256(data).hexdigest() != entry.sha256:
                raise UpdateError(f"{entry.name} in it is damaged or cut off; copy or pack it again")
            start += entry.size
        if start != len(content):
            raise UpdateError(f"{len(content) - start} bytes too many; copy or pack it again")
    except UpdateError as error:
        raise UpdateError(f"{path}: {error}") from None
    return Package(head, seal, package_id(seal[:-SIGNATURE_BYTES])), content


def _need_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise RuntimeMissingError("model packages need the package cryptography; install emotion-edge[deploy]") from None
