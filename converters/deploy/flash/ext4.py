"""A file system of the ext family inside an image, read and written by debugfs: no mount, no loop device, no root."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from converters.deploy.flash.plan import File, Folder, Found, Link, Remove, Step
from converters.deploy.flash.tools import last_words, run
from edge.errors import DeployError
from edge.update.disk import file_sha256

MOST_LINKS = 8
# Of the superblock's s_state: "it has errors". While we write it says so, to e2fsck on the board as to our next run; e2fsck takes
# it back.
ERRORS = "2"
KINDS = {"04": "folder", "10": "file", "12": "link"}
# udev locks a disk while it looks at it, and looks whenever somebody has written (systemd.io/BLOCK_DEVICE_LOCKING): so long is
# waited for it, seconds, and asked again so often.
UDEV, STEP = 10.0, 0.1


class Ext4:
    """One such file system.

    Args:
        path: of the image or disk.
        offset: where it begins, in bytes.
    """

    def __init__(self, path: Path, offset: int) -> None:
        self._path, self._lock = path, -1
        # Of libext2fs; man e2fsck knows it.
        self._place = f"{path.resolve()}?offset={offset}"
        if "?" in str(path.resolve()):
            raise DeployError(f"{path}: debugfs does not take a name with a question mark; give it another")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else writes meanwhile. A debugfs that outlives us keeps it: two at a time would tear the file system apart.

        Raises:
            DeployError: somebody does; or it cannot be written.
        """
        try:
            self._lock = os.open(self._path, os.O_RDWR)
        except OSError as error:
            raise DeployError(f"{self._path}: cannot be opened for writing ({error.strerror}); is it yours?") from None
        try:
            self._take()
            yield
            self._sync()
        finally:
            os.close(self._lock)
            self._lock = -1

    def _take(self) -> None:
        end = time.monotonic() + (UDEV if stat.S_ISBLK(os.fstat(self._lock).st_mode) else 0.0)
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise DeployError(f"{self._path}: another edge-flash is at work on it; wait for it") from None
            time.sleep(STEP)

    def _sync(self) -> None:
        try:
            os.fsync(self._lock)
        except OSError as error:
            raise DeployError(f"{self._path}: does not keep what is written to it ({error.strerror}); is it worn out?") from None

    def settle(self) -> None:
        """Whatever of the image or disk is read next comes from there, not from memory; within `alone`.

        Raises:
            DeployError: it does not take what was written.
        """
        self._sync()
        os.posix_fadvise(self._lock, 0, 0, os.POSIX_FADV_DONTNEED)

    def inside(self, folders: Iterable[str]) -> dict[str, Found]:
        """What is in each folder that is there; `value` is empty."""
        found, folder = {}, ""
        # The dot makes debugfs follow a folder that is a link.
        for line in self._ask(f'ls -p "{folder}/."' for folder in sorted({*folders})):
            if line.startswith("debugfs: ls"):
                folder = line.split('"')[1].removesuffix("/.")
            elif line.startswith("/"):
                inode, mode, uid, gid, name, *_ = line[1:].split("/")
                # What was deleted leaves an entry without an inode.
                if inode != "0" and name not in (".", ".."):
                    found[f"{folder}/{name}"] = Found(KINDS.get(mode[:2], "other"), int(mode[2:], 8), int(uid), int(gid))  # type: ignore[arg-type]
        return found

    def targets(self, links: Iterable[str]) -> dict[str, str]:
        """Where links lead; only short ones, which are those that systems have."""
        found, link = {}, ""
        for line in self._ask(f'stat "{link}"' for link in links):
            if line.startswith("debugfs: stat"):
                link = line.split('"')[1]
            elif match := re.match('Fast link dest: "(.*)"', line):
                found[link] = match[1]
        return found

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """See `system.Read`."""
        wanted = {path: path for path in paths}
        for _ in range(MOST_LINKS):
            there = self.inside({str(PurePosixPath(path).parent).rstrip("/") for path in wanted.values()})
            links = self.targets({path for path in wanted.values() if path in there and there[path].kind == "link"})
            if not links:
                break
            wanted = {
                asked: os.path.normpath(PurePosixPath(path).parent / links[path]) if path in links else path
                for asked, path in wanted.items()
            }
        files = {asked: path for asked, path in wanted.items() if path in there and there[path].kind == "file"}
        with self.copies(files.values()) as copies:
            return {asked: copies[path].read_bytes() for asked, path in files.items() if path in copies}

    @contextmanager
    def copies(self, paths: Iterable[str]) -> Iterator[dict[str, Path]]:
        """Files of it, copied to this machine for as long as it takes to look at them."""
        paths = list(dict.fromkeys(paths))
        with tempfile.TemporaryDirectory() as name:
            here = Path(name)
            for _ in self._ask((f'dump "{path}" {number}' for number, path in enumerate(paths)), folder=here):
                pass
            yield {path: here / str(number) for number, path in enumerate(paths) if (here / str(number)).is_file()}

    def digests(self, paths: Iterable[str]) -> dict[str, str]:
        """sha256 of files."""
        with self.copies(paths) as copies:
            return {path: file_sha256(copy) for path, copy in copies.items()}

    def facts(self) -> dict[str, str]:
        """Of the superblock, as `debugfs stats` names them."""
        lines = [line.partition(":") for line in self._ask(["stats -h"])]
        return {key.strip(): value.strip() for key, _, value in lines}

    def check(self, how: str) -> None:
        """Run e2fsck.

        Args:
            how: `-n` looks only, `-p` mends what is safe to mend, `-y` mends everything.

        Raises:
            DeployError: it is damaged, and stays so.
        """
        done = run(["e2fsck", "-f", how, self._place], pass_fds=self._kept())
        # 1 and 2: mended.
        if done.returncode > 2:
            raise DeployError(
                f"{self._path}: its root file system is damaged ({last_words(done, self._place)}); copy the image again"
            )

    def mark(self, state: str) -> None:
        """Write the superblock's state: `ERRORS`."""
        self._write([f"set_super_value state {state}"])

    def apply(self, steps: Iterable[Step], found: Mapping[str, Found]) -> None:
        """Take steps.

        Args:
            steps: the steps.
            found: what is there now.

        Raises:
            DeployError: something could not be written.
        """
        lines: list[str] = []
        gone: set[str] = set()
        with tempfile.TemporaryDirectory() as name:
            here = Path(name)
            for number, step in enumerate(steps):
                there = step.path in found and step.path not in gone
                match step:
                    case Remove():
                        lines.append(f'{"rmdir" if step.folder else "rm"} "{step.path}"')
                        gone.add(step.path)
                    case Folder():
                        lines += [] if there else [f'mkdir "{step.path}"']
                        lines += _inode(step, "04")
                    case File():
                        source = here / str(number)
                        if isinstance(step.content, bytes):
                            source.write_bytes(step.content)
                        else:
                            source.symlink_to(step.content.resolve())
                        lines += [f'rm "{step.path}"'] if there else []
                        lines += [f'write {number} "{step.path}"', *_inode(step, "010")]
                    case Link():
                        lines += [f'rm "{step.path}"'] if there else []
                        lines.append(f'symlink "{step.path}" "{step.target}"')
            self._write(lines, here)

    def _write(self, lines: list[str], folder: Path | None = None) -> None:
        for _ in self._ask(lines, folder=folder, write=True):
            pass

    def _ask(self, lines: Iterable[str], folder: Path | None = None, write: bool = False) -> Iterator[str]:
        script = list(lines)
        if not script:
            return
        if any("\n" in line for line in script):
            raise DeployError(f"{self._path}: a name in it has a line break, which debugfs does not take; remove that file")
        with tempfile.NamedTemporaryFile("w", errors="surrogateescape") as file:
            file.write("\n".join(script) + "\n")
            file.flush()
            # -c: no look at the bitmaps, which reading does not need and which may be wrong after an interruption.
            command = ["debugfs", "-w" if write else "-c", "-f", file.name, self._place]
            done = run(command, {"DEBUGFS_PAGER": "__none__"}, cwd=folder, pass_fds=self._kept())
        # It ends well whatever has failed; what it said is all there is to know. The first line is its name and version.
        said = [line for line in done.stderr.splitlines() if line.strip() and not re.match(r"debugfs \d", line)]
        if (write and said) or "Filesystem not open" in done.stderr:
            words = "the disk is full" if "No space" in done.stderr else said[0].replace(self._place, "it")
            raise DeployError(f"{self._path}: its root file system cannot be {'written' if write else 'read'} ({words})")
        yield from done.stdout.splitlines()

    def _kept(self) -> tuple[int, ...]:
        return (self._lock,) if self._lock >= 0 else ()


def _inode(step: Folder | File, kind: str) -> list[str]:
    fields = {"mode": f"{kind}{step.mode:04o}", "uid": step.uid, "gid": step.gid}
    return [f'set_inode_field "{step.path}" {key} {value}' for key, value in fields.items()]
