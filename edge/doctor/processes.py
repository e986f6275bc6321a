"""Who runs and what they hold open, as far as this user may see it (proc(5))."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePath

import msgspec

ROOT = Path("/")
EDGE_RUN = ("edge-run", "edge.cli.run")


class Process(msgspec.Struct, frozen=True):
    """Attributes: name is the program's, such as `edge-run`."""

    pid: int
    name: str

    @property
    def is_edge_run(self) -> bool:
        return self.name == EDGE_RUN[0]

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


def holders(file: Path, root: Path = ROOT) -> list[Process]:
    """The processes that have a file open; those of other users are seen by root alone."""
    wanted = os.path.realpath(file)
    return [process for process in processes(root) if wanted in _open_files(root / "proc" / str(process.pid))]


def edge_runs(root: Path = ROOT) -> list[Process]:
    """Every edge-run on this machine, whoever runs it."""
    return [process for process in processes(root) if process.is_edge_run]


def processes(root: Path = ROOT) -> Iterator[Process]:
    """All that can be seen but this one."""
    for folder in (root / "proc").glob("[0-9]*"):
        if folder.name.isdecimal() and int(folder.name) != os.getpid() and (name := _name(folder)):
            yield Process(int(folder.name), name)


def _name(folder: Path) -> str | None:
    try:
        words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        program = PurePath(words[0]).name
        # A script is run by its interpreter: its own name comes after that, and a module's after -m.
        if program.startswith("python") and any(PurePath(word).name in EDGE_RUN for word in words[1:4]):
            return EDGE_RUN[0]
        return program or (folder / "comm").read_text().strip()
    except OSError:
        # It has just ended.
        return None


def _open_files(folder: Path) -> set[str]:
    found = set()
    try:
        for descriptor in (folder / "fd").iterdir():
            # One may be closed while we look.
            try:
                found.add(str(descriptor.readlink()))
            except OSError:
                continue
    except OSError:
        pass
    return found
