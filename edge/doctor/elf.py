"""What a shared object asks of the C library, read from its own file (ELF, section .gnu.version_r).

A wheel's tag says which glibc it needs, and may be wrong; the file cannot be: the loader refuses it by these very entries.
Layouts: System V ABI, and the Linux Standard Base for the version needs.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"\x7fELF"
VERSION_NEEDS = 0x6FFFFFFE  # SHT_GNU_verneed
BYTE_ORDERS = {1: "<", 2: ">"}
# Of .gnu.version_r: version, count, file, first auxiliary, next; then hash, flags, other, name, next.
NEED, AUXILIARY = "HHIII", "IHHII"
# The longest name of a library or version that is believed.
LONGEST = 256

Content = bytes | mmap.mmap


@dataclass(frozen=True)
class _Layout:
    """Of one class of files: in the header, e_shoff as `table` at `table_at`, e_shentsize and e_shnum at `sizes_at`;
    of a section header, its type, offset, size, link and info."""

    table: str
    table_at: int
    sizes_at: int
    section: str


LAYOUTS = {1: _Layout("I", 32, 46, "4xI8xIIII"), 2: _Layout("Q", 40, 58, "4xI16xQQII")}


def version_needs(path: Path) -> dict[str, set[str]]:
    """The versions that a shared object needs of each library.

    Returns:
        Such as {"libc.so.6": {"GLIBC_2.17", "GLIBC_2.34"}}; empty where it has no such section.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no ELF file, or a damaged one.
    """
    with path.open("rb") as file:
        if path.stat().st_size < len(MAGIC):
            raise ValueError("no ELF file")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return parse(content)


def parse(content: Content) -> dict[str, set[str]]:
    """See `version_needs`.

    Raises:
        ValueError: see there.
    """
    if content[:4] != MAGIC:
        raise ValueError("no ELF file")
    try:
        layout, order = LAYOUTS[content[4]], BYTE_ORDERS[content[5]]
        sections = _sections(content, layout, order)
        found: dict[str, set[str]] = {}
        for kind, offset, _, link, count in sections:
            if kind == VERSION_NEEDS:
                for library, version in _needs(content, order, offset, count, sections[link][1]):
                    found.setdefault(library, set()).add(version)
        return found
    except (struct.error, IndexError, KeyError, OverflowError, UnicodeDecodeError):
        raise ValueError("a damaged ELF file") from None


def glibc_needed(path: Path) -> tuple[int, ...]:
    """The newest glibc that a shared object asks for, such as (2, 34); () where it asks for none.

    Raises:
        OSError, ValueError: see `version_needs`.
    """
    versions = (version for group in version_needs(path).values() for version in group)
    return max((numbers(version[6:]) for version in versions if version.startswith("GLIBC_")), default=())


def numbers(version: str) -> tuple[int, ...]:
    """`2.34` -> (2, 34); () for a name that is no version, such as PRIVATE."""
    words = version.split(".")
    return tuple(map(int, words)) if all(word.isdecimal() for word in words) else ()


def _sections(content: Content, layout: _Layout, order: str) -> list[tuple[int, ...]]:
    (table,) = struct.unpack_from(order + layout.table, content, layout.table_at)
    size, count = struct.unpack_from(order + "HH", content, layout.sizes_at)
    return [struct.unpack_from(order + layout.section, content, table + index * size) for index in range(count)]


def _needs(content: Content, order: str, offset: int, count: int, names: int) -> Iterator[tuple[str, str]]:
    for _ in range(count):
        _, versions, file, auxiliary, following = struct.unpack_from(order + NEED, content, offset)
        library, place = _name(content, names + file), offset + auxiliary
        for _ in range(versions):
            _, _, _, name, next_one = struct.unpack_from(order + AUXILIARY, content, place)
            yield library, _name(content, names + name)
            # The last one has none after it; a damaged count must not keep us at one place.
            if not next_one:
                break
            place += next_one
        if not following:
            return
        offset += following


def _name(content: Content, at: int) -> str:
    end = content.find(b"\0", at, at + LONGEST)
    if end < 0:
        raise IndexError
    return content[at:end].decode()
