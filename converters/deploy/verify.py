"""The bundle's own description, and reading a bundle: nothing is believed of it before every byte is accounted for."""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Annotated

import msgspec

from converters.deploy.archive import CHUNK, opened
from converters.deploy.targets import MACHINE, TARGETS
from edge.emotion.manifest import Manifest as ModelManifest
from edge.errors import DeployError, first_line

FORMAT = 1
MANIFEST = "bundle.json"
REQUIREMENTS = "requirements.txt"
# The one file of a bundle that is run.
EXECUTABLE = "install.sh"
# Far above any bundle of ours; a file made to fill a disk ends here.
MOST_FILES, MOST_BYTES, MOST_MANIFEST = 1000, 2_000_000_000, 1_000_000

# Opens a file for writing, by its path in the bundle and its mode.
Create = Callable[[str, int], IO[bytes]]
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a bundle: its sha256, and its size in bytes."""

    sha256: Digest
    bytes: Annotated[int, msgspec.Meta(ge=0)]


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a bundle says of itself: its bundle.json.

    Attributes:
        format: of bundles; this is 1.
        target: key of `converters.deploy.targets.TARGETS`.
        version: of emotion-edge.
        python, machine, glibc: of the board.
        model: identity of the model, as events carry it.
        installed_bytes: on the board's card, as `Wheel.installed` counts them.
        files: every file but this one, by its path inside the bundle's folder, sorted.
    """

    format: int
    target: str
    version: str
    python: str
    machine: str
    glibc: str
    model: str
    installed_bytes: int
    files: dict[str, Entry]

    @property
    def folder(self) -> str:
        """The one folder in the archive."""
        return f"emotion-edge-{self.version}-{self.target}"


class _Format(msgspec.Struct):
    """The one key that every format has."""

    format: int


def verify(path: Path) -> Bundle:
    """Read a bundle to its end and hold it against its own bundle.json.

    Raises:
        DeployError: it is none, or of another format; a file is damaged, missing or too many; an entry is a link or leads out of
            the folder; its wheels are not those of its requirements; its models are not those of their manifests.
    """
    return _read(path, None)


def unpack(path: Path, folder: Path) -> Bundle:
    """Unpack a bundle's content into a new folder, without the bundle's own folder; it is there once all is verified.

    Raises:
        DeployError: see `verify`; or the folder is there already, or cannot be written.
    """
    part = folder.with_name(folder.name + ".part")

    def create(name: str, mode: int) -> IO[bytes]:
        place = part / name
        place.parent.mkdir(parents=True, exist_ok=True)
        file = place.open("xb")
        place.chmod(0o755 if mode & 0o100 else 0o644)
        return file

    try:
        if folder.exists():
            raise DeployError(f"{folder}: is there already; name a new folder")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        bundle = _read(path, create)
        part.rename(folder)
    except OSError as error:
        raise DeployError(f"{error.filename or folder}: cannot be written ({error.strerror})") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return bundle


def _read(path: Path, create: Create | None) -> Bundle:
    found: dict[str, Entry] = {}
    kept: dict[str, bytes] = {}
    folder, total = "", 0
    try:
        with opened(path) as archive:
            for member in archive:
                top, name = _place(path, member)
                if (folder and top != folder) or (member.isfile() and not name):
                    raise DeployError(f"{path}: {member.name!r} lies outside the bundle's folder; do not use it")
                if name in found:
                    raise DeployError(f"{path}: {name} stands in it twice; do not use it")
                folder, total = top, total + member.size
                if len(found) >= MOST_FILES or total > MOST_BYTES:
                    raise DeployError(f"{path}: larger than any bundle; do not use it")
                if member.isfile():
                    found[name] = _take(archive, member, name, kept, create)
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise DeployError(f"{path}: damaged or no bundle ({first_line(error)}); copy or build it again") from None
    bundle = _described(path, kept.get(MANIFEST))
    if folder != bundle.folder:
        raise DeployError(f"{path}: its folder is {folder!r}, its {MANIFEST} says {bundle.folder!r}; build it again")
    _compare(path, bundle, found)
    _requirements(path, bundle, kept.get(REQUIREMENTS, b""))
    _models(path, bundle, kept)
    return bundle


def _place(path: Path, member: tarfile.TarInfo) -> tuple[str, str]:
    """The archive's folder and the name below it."""
    if not (member.isfile() or member.isdir()):
        raise DeployError(f"{path}: {member.name!r} is a link or a device, which no bundle has; do not use it")
    parts = PurePosixPath(member.name).parts
    if not parts or member.name.startswith("/") or ".." in parts or "\\" in member.name:
        raise DeployError(f"{path}: {member.name!r} leads out of the folder that it is unpacked in; do not use it")
    return parts[0], "/".join(parts[1:])


def _take(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str, kept: dict[str, bytes], create: Create | None) -> Entry:
    """Read one file: its size and hash; its content is kept where it is looked at further, and written where that is asked."""
    content = archive.extractfile(member)
    assert content is not None
    digest, size, text = hashlib.sha256(), 0, bytearray()
    keep = member.size <= MOST_MANIFEST and (name in (MANIFEST, REQUIREMENTS) or name.endswith(".json"))
    with create(name, member.mode) if create else contextlib.nullcontext() as out:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
            if keep:
                text += chunk
            if out:
                out.write(chunk)
    if keep:
        kept[name] = bytes(text)
    return Entry(digest.hexdigest(), size)


def _described(path: Path, text: bytes | None) -> Bundle:
    if text is None:
        raise DeployError(f"{path}: no {MANIFEST} in it, so it is no bundle; edge-bundle makes them")
    try:
        form = msgspec.json.decode(text, type=_Format).format
        if form != FORMAT:
            raise DeployError(f"{path}: bundle format {form}; this version reads format {FORMAT}")
        bundle = msgspec.json.decode(text, type=Bundle)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DeployError(f"{path}: its {MANIFEST} cannot be read ({first_line(error)}); build it again") from None
    target = TARGETS.get(bundle.target)
    if target is None:
        raise DeployError(f"{path}: made for {bundle.target!r}, which this version does not know ({', '.join(TARGETS)})")
    expected = (target.python, MACHINE, target.glibc)
    if (bundle.python, bundle.machine, bundle.glibc) != expected:
        raise DeployError(
            f"{path}: made for Python {bundle.python}, {bundle.machine}, glibc {bundle.glibc}; {target.name} is "
            f"Python {expected[0]}, {expected[1]}, glibc {expected[2]}; build it again"
        )
    return bundle


def _compare(path: Path, bundle: Bundle, found: dict[str, Entry]) -> None:
    found = {name: entry for name, entry in found.items() if name != MANIFEST}
    for name, entry in bundle.files.items():
        if name not in found:
            raise DeployError(f"{path}: {name} is missing; copy or build it again")
        if found[name] != entry:
            raise DeployError(
                f"{path}: {name} is damaged: {found[name].bytes:,} bytes, sha256 {found[name].sha256[:12]}…, should be "
                f"{entry.bytes:,} bytes, {entry.sha256[:12]}…; copy or build it again"
            )
    for name in found:
        if name not in bundle.files:
            raise DeployError(f"{path}: {name} does not belong to it; do not use it")
    for name in (REQUIREMENTS, EXECUTABLE, "config.toml"):
        if name not in found:
            raise DeployError(f"{path}: {name} is missing; build it again")


def _requirements(path: Path, bundle: Bundle, text: bytes) -> None:
    """pip takes exactly the wheels whose hashes the requirements name."""
    asked = set(re.findall(rb"--hash=sha256:([0-9a-f]{64})", text))
    here = {entry.sha256.encode() for name, entry in bundle.files.items() if name.startswith("wheels/")}
    if asked != here:
        raise DeployError(f"{path}: its {REQUIREMENTS} and its wheels do not name the same packages; build it again")


def _models(path: Path, bundle: Bundle, kept: dict[str, bytes]) -> None:
    """Every manifest describes the model beside it, and one of them is the bundle's model."""
    identities = []
    for name in bundle.files:
        if not (name.startswith("models/") and name.endswith(".json")):
            continue
        try:
            manifest = msgspec.json.decode(kept[name], type=ModelManifest)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError) as error:
            raise DeployError(f"{path}: {name} is not a model manifest ({first_line(error)}); build it again") from None
        entry = bundle.files.get(f"models/{manifest.file}")
        if entry is None or entry.sha256 != manifest.sha256:
            raise DeployError(f"{path}: {name} does not describe the model beside it; build it again")
        identities.append(manifest.identity)
    if bundle.model not in identities:
        raise DeployError(f"{path}: its model {bundle.model!r} is not in it; build it again")
