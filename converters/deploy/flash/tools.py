"""Programs of this machine that images are edited with, and what they said when they failed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.errors import DeployError

# Debian's packages.
PACKAGES = {
    "debugfs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "mcopy": "mtools",
    "mdir": "mtools",
    "mdel": "mtools",
    "ssh": "openssh-client",
}
# Where an ordinary user's PATH does not lead.
ADMIN = "/usr/sbin:/sbin"
EXT4, FAT, REMOTE = ("debugfs", "e2fsck"), ("mcopy", "mdir", "mdel"), ("ssh",)


def path() -> str:
    """Where programs are looked for."""
    return f"{os.environ.get('PATH', os.defpath)}:{ADMIN}"


def need(programs: Sequence[str]) -> None:
    """See that they are there.

    Raises:
        DeployError: one is not; it names the package that has it.
    """
    lost = [program for program in programs if not shutil.which(program, path=path())]
    if lost:
        packages = " ".join(dict.fromkeys(PACKAGES[program] for program in lost))
        raise DeployError(f"{', '.join(lost)}: not on this machine; sudo apt-get install {packages}")


def run(command: Sequence[str], variables: Mapping[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, in a language that can be read, whatever it says."""
    # Beyond ASCII names are bytes that come back as they were.
    return subprocess.run(  # noqa: S603  # our own list, no shell
        [*command],
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": path(), "LC_ALL": "C.UTF-8", **(variables or {})},
        check=False,
        **options,
    )


def last_words(done: subprocess.CompletedProcess[str], place: Path | str = "") -> str:
    """The last line that a program said, without the name of the image."""
    lines = [line.strip() for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
    return (lines[-1] if lines else f"status {done.returncode}").replace(f"{place}: ", "")[:200]
