"""An archive read as a stream to its very last byte, so that nothing in the file goes unseen."""

from __future__ import annotations

import contextlib
import io
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edge.errors import DeployError

CHUNK = 1024 * 1024


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tarfile.TarFile]:
    """A .tar.xz, for going through it once.

    Raises:
        DeployError: there is no such file. tarfile.TarError, lzma.LZMAError, EOFError: it is damaged, or more than one archive.
    """
    try:
        raw = path.open("rb")
    except OSError as error:
        raise DeployError(f"{path}: cannot be read ({error.strerror})") from None
    with raw:
        # As a stream: what is read once cannot be another thing when it is read again.
        stream = _Xz(raw)
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            yield archive
        stream.finish()


class _Xz(io.RawIOBase):
    """One xz stream, read to its very end: what a reader of the archive would leave unread is checked too."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._decoder = file, lzma.LZMADecompressor(lzma.FORMAT_XZ)

    def read(self, size: int = CHUNK) -> bytes:
        found = b""
        while len(found) < size and not self._decoder.eof:
            chunk = self._file.read(CHUNK) if self._decoder.needs_input else b""
            if self._decoder.needs_input and not chunk:
                raise EOFError("it ends too early")
            found += self._decoder.decompress(chunk, size - len(found))
        return found

    def finish(self) -> None:
        """Read the rest, which is nothing but zeros.

        Raises:
            EOFError, lzma.LZMAError: it is something else.
        """
        while chunk := self.read(CHUNK):
            if chunk.strip(b"\0"):
                raise EOFError("there is more after its end")
        if self._decoder.unused_data or self._file.read(1):
            raise EOFError("there is more after its end")
