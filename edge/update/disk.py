"""Files that are there after a power cut, whole, or not there at all.

A rename is atomic, but it may reach the disk before the content that it names (fsync(2), rename(2)): so content first, then the
name, then the folder that holds the name.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

BLOCK = 256 * 1024


def sync_folder(folder: Path) -> None:
    """Names in a folder are on disk when this returns."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file whose content is on disk when this returns; its name is not yet."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def copy_synced(source: BinaryIO, path: Path, count: int) -> str:
    """Copy so many bytes from where `source` stands, likewise.

    Returns:
        The sha256 of what was written; of less, where the source ended before.
    """
    digest = hashlib.sha256()
    with path.open("wb") as file:
        while count and (block := source.read(min(BLOCK, count))):
            file.write(block)
            digest.update(block)
            count -= len(block)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Of a whole file, without holding it in memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def replace_durably(path: Path, content: bytes) -> None:
    """The file has the old content or the new one, whenever the power goes; the new one when this returns."""
    beside = path.with_name(f"{path.name}.new")
    write_synced(beside, content)
    beside.replace(path)
    sync_folder(path.parent)
