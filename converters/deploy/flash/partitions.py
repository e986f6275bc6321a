"""Where the partitions of an image begin: MBR and GPT, read from its first sectors (UEFI specification 2.10, chapter 5)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from edge.errors import DeployError

SECTOR = 512
EXT_MAGIC, EXT_PLACE = 0xEF53, 1024 + 56
GPT_PROTECTIVE, EXTENDED = 0xEE, (0x05, 0x0F, 0x85)
# So many entries at most; the specification asks for room for 128.
MOST_ENTRIES, LARGEST_ENTRY = 256, 4096
PACKED = {b"\xfd7zXZ": "xz -d", b"\x1f\x8b": "gunzip", b"PK\x03\x04": "unzip", b"\x28\xb5\x2f\xfd": "zstd -d"}


class Partition(NamedTuple):
    """A part of an image: its number, where it begins and how long it is, in bytes; and what its content looks like."""

    number: int
    start: int
    size: int
    system: Literal["ext", "fat", "other"]


def read_partitions(path: Path, size: int) -> list[Partition]:
    """The partitions of an image or disk; one, where the whole of it is a file system.

    Args:
        path: the image.
        size: its size, or that of the disk, in bytes.

    Raises:
        DeployError: it cannot be read, is compressed, has no partition table, or is shorter than its table says.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path, size)
    except OSError as error:
        raise DeployError(f"{path}: cannot be read ({error.strerror})") from None


def _read(file: BinaryIO, path: Path, size: int) -> list[Partition]:
    head = file.read(2 * SECTOR)
    for magic, program in PACKED.items():
        if head.startswith(magic):
            raise DeployError(f"{path}: compressed; unpack it first: {program} {path.name}")
    if _system(file, 0) == "ext":
        return [Partition(0, 0, size, "ext")]
    if head[510:512] != b"\x55\xaa":
        raise DeployError(f"{path}: no partition table in it, so it is no image of a card or disk")
    kinds = [head[446 + 16 * index + 4] for index in range(4)]
    spans = _gpt(file, head) if GPT_PROTECTIVE in kinds else _mbr(head, kinds)
    found = []
    for number, start, length in spans:
        if start + length > size:
            raise DeployError(
                f"{path}: cut off: its partition {number} ends at {start + length:,} of {size:,} bytes; copy it again"
            )
        found.append(Partition(number, start, length, _system(file, start)))
    if not found:
        raise DeployError(f"{path}: its partition table is empty or damaged; copy it again")
    return found


def _mbr(head: bytes, kinds: list[int]) -> list[tuple[int, int, int]]:
    spans = []
    for index, kind in enumerate(kinds):
        start, length = struct.unpack_from("<II", head, 446 + 16 * index + 8)
        # Boards' images have no partitions within partitions.
        if kind and length and kind not in EXTENDED:
            spans.append((index + 1, start * SECTOR, length * SECTOR))
    return spans


def _gpt(file: BinaryIO, head: bytes) -> list[tuple[int, int, int]]:
    if head[SECTOR : SECTOR + 8] != b"EFI PART":
        return []
    place, count, width = struct.unpack_from("<QII", head, SECTOR + 72)
    spans = []
    if width < 128 or width > LARGEST_ENTRY:
        return []
    for index in range(min(count, MOST_ENTRIES)):
        file.seek(place * SECTOR + index * width)
        entry = file.read(width)
        if len(entry) == width and any(entry[:16]):
            first, last = struct.unpack_from("<QQ", entry, 32)
            spans.append((index + 1, first * SECTOR, (last - first + 1) * SECTOR))
    return spans


def _system(file: BinaryIO, start: int) -> Literal["ext", "fat", "other"]:
    file.seek(start)
    content = file.read(EXT_PLACE + 2)
    if len(content) == EXT_PLACE + 2 and struct.unpack_from("<H", content, EXT_PLACE)[0] == EXT_MAGIC:
        return "ext"
    # Of the boot sector: FAT12 and FAT16 call themselves so at 54, FAT32 at 82.
    if content[510:512] == b"\x55\xaa" and (content[54:57] == b"FAT" or content[82:87] == b"FAT32"):
        return "fat"
    return "other"
