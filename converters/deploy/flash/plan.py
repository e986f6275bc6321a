"""What a board gets, listed once, whoever lays it down; and what of it is not there yet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from edge.errors import DeployError
from edge.update.disk import file_sha256

PROGRAM = "/opt/emotion-edge"
# The unpacked bundle. It is exactly that: install.sh refuses files that it does not know.
BUNDLE = f"{PROGRAM}/bundle"
SETTINGS = "/etc/emotion-edge"
# A file on its way; of an interrupted run it is replaced by the next.
SUFFIX = ".edge-flash"
# On the board the boot partition is mounted here.
BOOT = "/boot/firmware"


class Folder(NamedTuple):
    """A folder, made where it is missing; one that is there keeps its mode and owner."""

    path: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


class File(NamedTuple):
    """A file: its content, or the file on this machine that has it."""

    path: str
    content: bytes | Path
    mode: int = 0o644
    uid: int = 0
    gid: int = 0

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    @property
    def digest(self) -> str:
        """sha256 of the content."""
        return hashlib.sha256(self.content).hexdigest() if isinstance(self.content, bytes) else file_sha256(self.content)


class Link(NamedTuple):
    """A symbolic link."""

    path: str
    target: str


class Remove(NamedTuple):
    """Something that is there and must not be."""

    path: str
    folder: bool = False


Entry = Folder | File | Link
Step = Folder | File | Link | Remove
Kind = Literal["folder", "file", "link", "other"]


class Found(NamedTuple):
    """What is there now: `value` is the sha256 of a file (empty where nobody has asked for it) or the target of a link."""

    kind: Kind
    mode: int = 0
    uid: int = 0
    gid: int = 0
    value: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a board gets.

    Attributes:
        entries: folders before what is in them.
        done: the link that enables the first-boot unit. It is removed before anything else changes and made last: without it
            the board installs nothing, so what is half-done is never taken for done.
        boot: of the boot partition, name -> content, in the order in which they are written.
    """

    entries: tuple[Entry, ...]
    done: Link
    boot: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def files(self) -> Iterator[File]:
        """Every file, without those of the boot partition."""
        return (entry for entry in self.entries if isinstance(entry, File))


def missing(plan: Plan, found: Mapping[str, Found]) -> tuple[Step, ...]:
    """The steps from what is there to what is planned; none where all is there.

    Args:
        plan: the plan.
        found: what is there at every path of the plan, above it, and in the bundle's folder.

    Raises:
        DeployError: something is in the way that is not ours to remove.
    """
    planned = {entry.path for entry in plan.entries}
    steps: list[Step] = [
        Remove(path, found[path].kind == "folder")
        for path in sorted(found, reverse=True)
        if path.startswith(f"{BUNDLE}/") and path not in planned
    ]
    for entry in plan.entries:
        for above in map(str, PurePosixPath(entry.path).parents):
            # A link could lead anywhere, even out of the board's tree.
            if above in found and found[above].kind != "folder":
                raise DeployError(f"{above} is there and is no folder; {entry.path} cannot be written below it")
        steps += _towards(entry, found.get(entry.path))
    ready = _is(plan.done, found.get(plan.done.path))
    if not steps and ready:
        return ()
    first: list[Step] = [Remove(plan.done.path)] if plan.done.path in found else []
    return (*first, *steps, plan.done)


def _towards(entry: Entry, now: Found | None) -> Iterator[Step]:
    if _is(entry, now):
        return
    if now and (now.kind == "folder") != isinstance(entry, Folder):
        if not entry.path.startswith(f"{BUNDLE}/"):
            raise DeployError(f"{entry.path} is there and is {'a' if now.kind == 'folder' else 'no'} folder; remove it first")
        yield Remove(entry.path, now.kind == "folder")
    yield entry


def _is(entry: Entry, now: Found | None) -> bool:
    match entry:
        case Folder(path):
            if now is None or now.kind != "folder":
                return False
            return not path.startswith(BUNDLE) or (now.mode, now.uid, now.gid) == entry[1:]
        case File(_, _, mode, uid, gid):
            # Hashed last, and only where it may be the same.
            return now is not None and now[:4] == ("file", mode, uid, gid) and now.value == entry.digest
        case Link():
            return now is not None and (now.kind, now.value) == ("link", entry.target)


def asked(plan: Plan) -> set[str]:
    """Every path at which a writer looks for `missing`: the plan's own and all above them."""
    paths = {entry.path for entry in (*plan.entries, plan.done)}
    return {str(place) for path in paths for place in (PurePosixPath(path), *PurePosixPath(path).parents)}


def describe(steps: Iterable[Step]) -> Iterator[str]:
    """One line for each step; no content, which may be secret."""
    for step in steps:
        match step:
            case Folder():
                yield f"make   {step.path}/ ({_owner(step)})"
            case File():
                yield f"write  {step.path} ({_owner(step)}, {step.size:,} bytes)"
            case Link():
                yield f"link   {step.path} -> {step.target}"
            case Remove():
                yield f"remove {step.path}"


def _owner(entry: Folder | File) -> str:
    return f"{entry.mode:04o}" + (f" {entry.uid}:{entry.gid}" if entry.uid or entry.gid else "")
