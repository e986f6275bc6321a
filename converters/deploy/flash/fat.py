"""A FAT boot partition inside an image, read and written by mtools."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from converters.deploy.flash.tools import last_words, run
from edge.errors import DeployError

# Images end where they like, and mtools' own configuration has no say here.
VARIABLES = {"MTOOLS_SKIP_CHECK": "1", "MTOOLSRC": "/dev/null"}
NEW = ".new"


class Fat:
    """One such file system.

    Args:
        path: of the image or disk.
        offset: where it begins, in bytes.
    """

    def __init__(self, path: Path, offset: int) -> None:
        self._path, self._place = path, f"{path.resolve()}@@{offset}"

    def names(self) -> set[str]:
        """What is in its top folder, in small letters as FAT knows no other difference."""
        done = run(["mdir", "-b", "-i", self._place, "::"], VARIABLES)
        return {line.removeprefix("::/").lower() for line in done.stdout.splitlines()}

    def unfinished(self) -> set[str]:
        """Files whose replacement was interrupted."""
        return {name.removesuffix(NEW) for name in self.names() if name.endswith(NEW)}

    def read(self, names: Iterable[str]) -> dict[str, bytes]:
        """The text files that are there. Of one whose replacement was interrupted, the new one, if that is whole."""
        found, there = {}, self.names()
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder, "file")
            for name in names:
                for place in sorted({name + NEW, name} & there, reverse=True):
                    copied = run(["mcopy", "-n", "-o", "-i", self._place, f"::{place}", str(here)], VARIABLES)
                    if copied.returncode == 0 and (place == name or here.read_bytes().endswith(b"\n")):
                        found[name] = here.read_bytes()
                        break
        return found

    def free(self) -> int:
        """Free bytes."""
        done = run(["mdir", "-i", self._place, "::"], VARIABLES)
        last = re.search(r"([\d ]+) bytes free", done.stdout)
        if done.returncode or not last:
            raise DeployError(f"{self._path}: its boot partition cannot be read ({last_words(done)})")
        return int(last[1].replace(" ", ""))

    def write(self, name: str, content: bytes) -> None:
        """Write a text file, with a copy beside it while it is not whole.

        Raises:
            DeployError: it cannot be written.
        """
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder, "file")
            here.write_bytes(content)
            for place in (name + NEW, name):
                self._run("mcopy", "-o", str(here), f"::{place}")
        self._run("mdel", f"::{name}{NEW}")

    def _run(self, program: str, *words: str) -> None:
        done = run([program, "-i", self._place, *words], VARIABLES)
        if done.returncode:
            raise DeployError(f"{self._path}: its boot partition cannot be written ({last_words(done)})")
