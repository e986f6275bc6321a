"""A package on its way: a file that grows chunk by chunk, and goes on where it broke off, after a restart too."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from edge.errors import UpdateError
from edge.update.package import CHUNK, Chunk, Package, chunk_bytes

# Written to disk after so many bytes, so that a power cut costs no more.
SYNC = 1024 * 1024
# What has to stay free beside the package and its copy in the slot: the outbox lives there too. Bytes.
SPARE = 16 * 1024 * 1024


class Transfer:
    """The file `incoming` of one package.

    What lies there of the same package counts; it may be damaged at its end after a power cut, which the sha256 will tell.

    Args:
        path: seal and files, as far as they are there.
        package: what is expected.

    Attributes:
        next: the first chunk that is not there yet.
        again: chunks that came although they were there.

    Raises:
        UpdateError: there is no room.
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path, package: Package) -> None:
        self.path, self.package, self.again = path, package, 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self.next = self._there()
        left = package.head.size - self.next * CHUNK
        needed = left + package.head.size + SPARE
        if self.next == 0:
            path.unlink(missing_ok=True)
        free = shutil.disk_usage(path.parent).free
        if free < needed:
            raise UpdateError(f"the disk has {free:,} bytes free; {needed:,} are needed for this model")
        self._file: BinaryIO = path.open("r+b" if self.next else "w+b")
        if not self.next:
            self._file.write(package.seal)
        end = len(package.seal) + min(self.next * CHUNK, package.head.size)
        self._file.truncate(end)
        self._file.seek(end)
        self._unsynced = 0

    @property
    def complete(self) -> bool:
        """Whether every chunk is there."""
        return self.next == self.package.head.chunks

    def put(self, chunk: Chunk) -> None:
        """Write the next chunk; another one than the next is only counted or passed over.

        Raises:
            UpdateError: it has another size than it should.
            OSError: it cannot be written.
        """
        if chunk.number < self.next:
            self.again += 1
        elif chunk.number == self.next and not self.complete:
            expected = chunk_bytes(self.package.head, chunk.number)
            if len(chunk.data) != expected:
                raise UpdateError(f"chunk {chunk.number} has {len(chunk.data)} bytes, {expected} are expected")
            self._file.write(chunk.data)
            self.next += 1
            self._unsynced += expected
            if self._unsynced >= SYNC or self.complete:
                self.sync()

    def sync(self) -> None:
        """What has come is on disk when this returns."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._unsynced = 0

    def close(self) -> None:
        """Leave the file as it is, for another time."""
        # It writes what is left in memory, which a full disk refuses.
        with suppress(OSError):
            self._file.close()

    def _there(self) -> int:
        """Whole chunks of this very package in the file."""
        seal, head = self.package.seal, self.package.head
        try:
            with self.path.open("rb") as file:
                if file.read(len(seal)) != seal:
                    return 0
            there = self.path.stat().st_size - len(seal)
        except FileNotFoundError:
            return 0
        return head.chunks if there >= head.size else there // CHUNK
