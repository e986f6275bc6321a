"""A board with a ribbon camera: the programs that read it are on the PATH, and things go wrong with it when told."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parent / "fake_board.py"


class Board:
    """One board.

    Args:
        folder: empty, for its programs and what is wrong with it.
        programs: which are installed; nothing else is on the PATH.
    """

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, programs: tuple[str, ...] = ("rpicam-vid", "gst-launch-1.0")
    ) -> None:
        self.folder = folder / "board"
        self.folder.mkdir()
        (folder / "bin").mkdir()
        for program in programs:
            path = folder / "bin" / program
            # -S: it needs no packages, and starts in a few milliseconds.
            path.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {PROGRAM} {program} "$@"\n')
            path.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder / "bin"))
        monkeypatch.setenv("FAKE_BOARD", str(self.folder))

    def is_wrong(self, what: str, so: bool = True) -> None:
        """Something is, or is not any more.

        Args:
            what: `frozen` gives nothing, `still` always the same; `half`, `absent`, `adjusts`, `chatty`; `pi5` is another board.
            so: False mends it.
        """
        if so:
            (self.folder / what).touch()
        else:
            (self.folder / what).unlink(missing_ok=True)

    @property
    def given_back(self) -> bool:
        """Whether a program was asked to end, and did."""
        return (self.folder / "given-back").exists()

    @property
    def started(self) -> list[int]:
        """Process numbers of the programs, in the order of their starts."""
        path = self.folder / "started"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def stop(self) -> int:
        """SIGSTOP the program that runs: it hangs as a driver would let it hang."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.started[-1], signal.SIGSTOP)
        return self.started[-1]


def running(pid: int) -> bool:
    """Whether a process is there; a zombie that its new parent has not looked after is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
