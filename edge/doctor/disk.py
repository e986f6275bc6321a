"""Whether the state folder has room for what the outbox may hold."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from edge.config import Settings
from edge.doctor.finding import Findings, broken, good, skipped, warning
from edge.doctor.state import state_folder

# SQLite's write-ahead log and indices beside the events themselves.
OVERHEAD = 1.5
# Below it a journal and a log line fill the disk at any moment, bytes.
LEAST = 16 * 1024 * 1024
FEWEST_INODES = 1000
MEGABYTE = 1024 * 1024


class Space(msgspec.Struct, frozen=True):
    """What statvfs(3) tells of a file system.

    Attributes:
        free: bytes that this user may still write.
        inodes: files that may still be made; None where the file system counts none (btrfs, vfat).
        read_only: whether nothing can be written at all.
    """

    free: int
    inodes: int | None
    read_only: bool


def check(settings: Settings, root: Path = Path("/")) -> Findings:
    """Room, files and writability of the file system under the state folder, and outboxes that were set aside."""
    folder = state_folder(settings, root)
    # Before the first start it is not there: what counts is the file system on which it will be.
    try:
        present = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    except OSError:
        yield skipped("disk.space", f"you may not look at {folder}", "run edge-doctor with sudo")
        return
    used = _size(folder)
    yield from judge(folder, space(present), max(0, round(settings.delivery.max_bytes * OVERHEAD) - used))
    yield from _set_aside(folder)


def space(folder: Path) -> Space:
    """Ask the file system of a folder."""
    found = os.statvfs(folder)
    return Space(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None, bool(found.f_flag & os.ST_RDONLY))


def judge(folder: Path, found: Space, wanted: int) -> Findings:
    """Hold a file system against what the outbox may still want, in bytes."""
    if found.read_only:
        remedy = "look for the fault (dmesg), then sudo mount -o remount,rw; a card that does this again is worn out"
        yield broken("disk.writable", f"{folder} is on a file system that is mounted read-only", remedy)
        return
    yield good("disk.writable", f"{folder} is on a file system that can be written")
    free = f"{found.free / MEGABYTE:,.0f} MB free under {folder}"
    room = "make room (du -xh / | sort -h | tail), or lower delivery.max_bytes"
    if found.free < LEAST:
        yield broken("disk.space", free, room)
    elif found.free < wanted:
        yield warning("disk.space", f"{free}; a full outbox wants another {wanted / MEGABYTE:,.0f} MB", room)
    else:
        yield good("disk.space", free)
    if found.inodes is not None and found.inodes < FEWEST_INODES:
        text = f"only {found.inodes} files can still be made on this file system"
        yield warning("disk.files", text, "remove folders of many small files (df -i tells the file system)")


def _size(folder: Path) -> int:
    try:
        return sum(file.stat().st_size for file in folder.glob("outbox.db*"))
    except OSError:
        # The service's folder is closed to others.
        return 0


def _set_aside(folder: Path) -> Findings:
    try:
        found = sorted(path.name for path in folder.glob("*.damaged-*") if not path.name.endswith(("-wal", "-shm")))
    except OSError:
        return
    if found:
        text = f"{len(found)} damaged outboxes were set aside in {folder}, the last one {found[-1]}"
        yield warning("disk.damaged", text, "check card and power supply; look into the files, then remove them")
