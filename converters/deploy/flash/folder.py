"""The tree of a mounted card, or of a root file system in a folder."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from converters.deploy.flash.first_boot import NAMES
from converters.deploy.flash.plan import BOOT, BUNDLE, SUFFIX, File, Folder, Found, Link, Plan, Remove, Step, asked, missing
from edge.errors import DeployError
from edge.update.disk import file_sha256, replace_durably, sync_folder

MOST_LINKS = 16


class FolderTarget:
    """A folder that becomes the root of a board.

    Args:
        root: the folder.

    Raises:
        DeployError: there is none, or it is the root of this very machine.
    """

    running = False

    def __init__(self, root: Path) -> None:
        self.name, self._root = str(root), root.resolve()
        if not root.is_dir():
            raise DeployError(f"{root}: no such folder; mount the root of the board's system there")
        if self._root == Path("/"):
            raise DeployError(f"{root}: the root of this machine; on a board itself run the bundle's install.sh")

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """See `system.Read`."""
        found = {}
        for path in paths:
            place = self._follow(path)
            if place and place.is_file():
                found[path] = place.read_bytes()
        return found

    def boot(self) -> dict[str, bytes]:
        """What is there of `first_boot.NAMES` on the boot partition, if that is mounted."""
        files = self.read(f"{BOOT}/{name}" for name in NAMES)
        return {path.rpartition("/")[2]: content for path, content in files.items()}

    def room(self) -> tuple[int, int]:
        """Free bytes and inodes; a file system that counts no inodes has as many as it needs."""
        there = os.statvfs(self._root)
        return there.f_bavail * there.f_frsize, there.f_favail if there.f_files else 1 << 40

    def boot_room(self) -> int:
        """Free bytes of the boot partition."""
        there = os.statvfs(self._boot_folder())
        return there.f_bavail * there.f_frsize

    def look(self, plan: Plan) -> dict[str, Found]:
        """See `plan.missing`."""
        paths = asked(plan) | {str(Path("/", path.relative_to(self._root))) for path in self._at(BUNDLE).rglob("*")}
        contents = {file.path: file for file in plan.files}
        found = {}
        for path in sorted(paths):
            try:
                there = self._at(path).lstat()
            except (FileNotFoundError, NotADirectoryError):
                continue
            mode, owner = stat.S_IMODE(there.st_mode), (there.st_uid, there.st_gid)
            if stat.S_ISLNK(there.st_mode):
                found[path] = Found("link", mode, *owner, str(self._at(path).readlink()))
            elif stat.S_ISDIR(there.st_mode):
                found[path] = Found("folder", mode, *owner)
            elif stat.S_ISREG(there.st_mode):
                # One that has another size is another, and need not be read.
                same = path in contents and there.st_size == contents[path].size
                found[path] = Found("file", mode, *owner, file_sha256(self._at(path)) if same else "")
            else:
                found[path] = Found("other", mode, *owner)
        return found

    def lay(self, plan: Plan) -> None:
        """Do what is missing, the boot partition's files before the last step. Each file is whole or not there.

        Raises:
            DeployError: something cannot be written.
        """
        steps = missing(plan, self.look(plan))
        there = self.boot()
        try:
            for step in steps[:-1]:
                self._take(step)
            for name, content in plan.boot.items():
                if there.get(name) != content:
                    place = self._boot_folder() / name
                    # What is written first is opened by its name, and a link of that name could lead anywhere.
                    place.with_name(f"{name}.new").unlink(missing_ok=True)
                    replace_durably(place, content)
            # Whatever the first-boot unit needs is on disk before it is enabled.
            os.sync()
            for step in steps[-1:]:
                self._take(step)
        except OSError as error:
            raise DeployError(
                f"{error.filename or self.name}: cannot be written ({error.strerror}); run it again when that is mended"
            ) from None

    def _take(self, step: Step) -> None:
        place = self._at(step.path)
        beside = place.with_name(place.name + SUFFIX)
        match step:
            case Remove():
                shutil.rmtree(place) if step.folder else place.unlink()
                return
            case Folder():
                place.mkdir(exist_ok=True)
                os.chown(place, step.uid, step.gid)
                place.chmod(step.mode)
            case File():
                beside.unlink(missing_ok=True)
                # Nobody else's eyes, not even for a moment.
                descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    if isinstance(step.content, bytes):
                        file.write(step.content)
                    else:
                        with step.content.open("rb") as source:
                            shutil.copyfileobj(source, file, 1 << 20)
                    file.flush()
                    os.fchown(descriptor, step.uid, step.gid)
                    os.fchmod(descriptor, step.mode)
                    os.fsync(descriptor)
                beside.replace(place)
            case Link():
                beside.unlink(missing_ok=True)
                beside.symlink_to(step.target)
                beside.replace(place)
        sync_folder(place.parent)

    def _boot_folder(self) -> Path:
        place = self._follow(BOOT)
        if place is None:
            raise DeployError(f"{self.name}: {BOOT} leads nowhere; mount the boot partition there")
        return place

    def _at(self, path: str) -> Path:
        return self._root / path.lstrip("/")

    def _follow(self, path: str) -> Path | None:
        """Where a path leads when this folder is the root: links in it may be absolute, and must not lead out."""
        parts, place = list(Path(path).parts[1:]), self._root
        for _ in range(MOST_LINKS * 8):
            if not parts:
                return place
            part = parts.pop(0)
            if part == "..":
                place = place.parent if place != self._root else place
                continue
            place = place / part
            if place.is_symlink():
                target = place.readlink()
                parts = [*[step for step in target.parts if step != "/"], *parts]
                place = self._root if target.is_absolute() else place.parent
        return None


def need_root() -> None:
    """Only root can give files to root.

    Raises:
        DeployError: this is not root.
    """
    if os.geteuid() != 0:
        raise DeployError("--rootfs: files of a board belong to its root; run it as root: sudo edge-flash …")
