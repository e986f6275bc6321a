"""A card in a reader: whether it may be written at all, and an image written to it and read back."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.errors import DeployError

CHUNK = 4 << 20
# ioctl BLKRRPART of linux/fs.h: read the partition table again.
REREAD = 0x125F

# What is being done, and how much of how many bytes.
Progress = Callable[[str, int, int], None]


def _block_device(path: Path) -> tuple[int, int] | None:
    there = path.stat()
    return (os.major(there.st_rdev), os.minor(there.st_rdev)) if stat.S_ISBLK(there.st_mode) else None


@dataclass(frozen=True, slots=True)
class Kernel:
    """Where the kernel tells of its disks; a test puts a folder and a plain file here.

    Attributes:
        sys, proc: the file systems of these names.
        number: major and minor of a block device; None for anything else.
    """

    sys: Path = Path("/sys")
    proc: Path = Path("/proc")
    number: Callable[[Path], tuple[int, int] | None] = _block_device


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk that may be written.

    Attributes:
        path: as it was given.
        name: the kernel's, such as sdb, which a person has to type.
        size: bytes.
        model: what it calls itself, if anything.
    """

    path: Path
    name: str
    size: int
    model: str


def open_disk(path: Path, kernel: Kernel) -> Disk:
    """Look at a disk, and refuse one that is not for this.

    Raises:
        DeployError: it is no whole disk, not removable, in use, read-only or empty.
    """
    try:
        number = kernel.number(path)
    except OSError as error:
        raise DeployError(f"{path}: {(error.strerror or 'not there').lower()}; lsblk lists the disks") from None
    if number is None:
        raise DeployError(f"{path}: not a disk; a file with an image is --image")
    entry = (kernel.sys / "dev/block" / f"{number[0]}:{number[1]}").resolve()
    name = entry.name
    if (entry / "partition").exists():
        raise DeployError(f"{path}: a partition; give the whole disk, {path.parent / entry.parent.name}")
    if not _removable(entry):
        raise DeployError(f"{path}: not removable (no USB, no card reader), so it may be this machine's own; it is left alone")
    _unused(path, entry, kernel)
    if _read(entry / "ro") == "1":
        raise DeployError(f"{path}: write-protected; look at the switch on the card")
    # In sectors of 512 bytes, whatever the disk's own are (block/stat.rst of the kernel).
    size = int(_read(entry / "size") or 0) * 512
    if not size:
        raise DeployError(f"{path}: no card in it")
    return Disk(path, name, size, " ".join(f"{_read(entry / 'device/vendor')} {_read(entry / 'device/model')}".split()))


def _removable(entry: Path) -> bool:
    # A reader on USB may call its card fixed, and one on the board's own bus does (mmc).
    return _read(entry / "removable") == "1" or any(part.startswith(("usb", "mmc")) for part in entry.parts[:-1])


def _unused(path: Path, entry: Path, kernel: Kernel) -> None:
    """The disk and its partitions: mounted, swap, or part of something larger."""
    parts = [entry, *(place.parent for place in entry.glob("*/partition"))]
    for part in parts:
        number = _read(part / "dev")
        for line in _read(kernel.proc / "self/mountinfo").splitlines():
            fields = line.split()
            if len(fields) > 4 and fields[2] == number:
                raise DeployError(f"{path}: mounted at {fields[4]}; umount {fields[4]} first")
        if any(line.split()[0] == f"/dev/{part.name}" for line in _read(kernel.proc / "swaps").splitlines() if line.strip()):
            raise DeployError(f"{path}: this machine swaps on {part.name}; it is left alone")
        if held := [place.name for place in (part / "holders").glob("*")]:
            raise DeployError(f"{path}: in use by {held[0]} (LVM, RAID or encryption); close that first")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def write_image(image: Path, disk: Disk, head: int, edit: Callable[[], None], progress: Progress) -> None:
    """Write an image to a disk, read it back, have it edited there, and give it its partition table.

    Args:
        image: the image. disk: the disk.
        head: bytes before its first partition, which are written last: a disk that is half-written has no partitions.
        edit: changes the partitions on the disk.
        progress: is told.

    Raises:
        DeployError: the disk is too small, cannot be written, or does not keep what is written.
    """
    fits(image, disk)
    size = image.stat().st_size
    try:
        with image.open("rb") as source:
            first = source.read(head)
            with _opened(disk) as target:
                _write(target, 0, b"\0" * head)
                written, place = hashlib.sha256(), head
                while chunk := source.read(CHUNK):
                    _write(target, place, chunk)
                    written.update(chunk)
                    place += len(chunk)
                    progress("writing", place, size)
                os.fsync(target)
                _compare(target, head, size, written.hexdigest(), disk, progress)
        # e2fsck wants the disk for itself.
        edit()
        with _opened(disk) as target:
            _write(target, 0, first)
            os.fsync(target)
            _compare(target, 0, head, hashlib.sha256(first).hexdigest(), disk, lambda *_: None)
            with contextlib.suppress(OSError):
                fcntl.ioctl(target, REREAD)
    except OSError as error:
        raise DeployError(f"{disk.path}: cannot be written ({error.strerror}); it has no partitions now, run it again") from None


@contextlib.contextmanager
def _opened(disk: Disk) -> Iterator[int]:
    # O_EXCL on a disk: nobody has it mounted, and nobody mounts it meanwhile (open(2)).
    try:
        target = os.open(disk.path, os.O_RDWR | os.O_EXCL)
    except OSError as error:
        raise DeployError(f"{disk.path}: cannot be opened for writing ({error.strerror}); is it mounted, are you root?") from None
    try:
        yield target
    finally:
        os.close(target)


def fits(image: Path, disk: Disk) -> None:
    """See that an image is not larger than a disk.

    Raises:
        DeployError: it is.
    """
    size = image.stat().st_size
    if size > disk.size:
        raise DeployError(f"{disk.path}: {disk.size / 1e9:.1f} GB, and {image} has {size / 1e9:.1f} GB; take a larger card")


def _write(target: int, place: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        count = os.pwrite(target, left, place)
        left, place = left[count:], place + count


def _compare(target: int, start: int, end: int, expected: str, disk: Disk, progress: Progress) -> None:
    # From the card, not from memory.
    os.posix_fadvise(target, start, end - start, os.POSIX_FADV_DONTNEED)
    found, place = hashlib.sha256(), start
    while place < end and (chunk := os.pread(target, min(CHUNK, end - place), place)):
        found.update(chunk)
        place += len(chunk)
        progress("reading back", place, end)
    if found.hexdigest() != expected:
        raise DeployError(f"{disk.path}: does not keep what is written to it; the card is worn out or a fake")
