"""An image of a card, or a card itself: its partitions are found by what is in them, and written where they lie."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from converters.deploy.flash.ext4 import ERRORS, Ext4
from converters.deploy.flash.fat import Fat
from converters.deploy.flash.first_boot import NAMES
from converters.deploy.flash.partitions import Partition, read_partitions
from converters.deploy.flash.plan import BUNDLE, Found, Link, Plan, asked, missing
from converters.deploy.flash.system import RELEASE, SHELL
from converters.deploy.flash.tools import EXT4, FAT, need
from edge.errors import DeployError


class ImageTarget:
    """An image with a root file system, and on Raspberry Pi OS a boot partition.

    Args:
        path: the image, or the disk.
        size: of it, in bytes; of a file its own.
        at: where it is written, if that is another place: a card that gets this image.

    Raises:
        DeployError: it is none, or a program that it needs is missing.
    """

    running = False

    def __init__(self, path: Path, size: int | None = None, at: Path | None = None) -> None:
        need(EXT4)
        try:
            self.size = path.stat().st_size if size is None else size
        except OSError as error:
            raise DeployError(f"{path}: cannot be read ({error.strerror})") from None
        self.name, self._path, self._at = str(path), path, at or path
        partitions = read_partitions(path, self.size)
        # Where the first partition begins: what lies before is the partition table.
        self.first = min(part.start for part in partitions)
        roots = [part for part in partitions if part.system == "ext" and len(Ext4(path, part.start).read([RELEASE, SHELL])) == 2]
        if len(roots) != 1:
            raise DeployError(
                f"{path}: {f'{len(roots)} partitions' if roots else 'no partition'} with a system on it ({_list(partitions)}); "
                "expected one, a root file system of the ext family"
            )
        # What a first boot adds to the root file system, if it is the last one.
        self.behind = self.size - roots[0].start - roots[0].size
        self._root = Ext4(self._at, roots[0].start)
        self._source = Ext4(path, roots[0].start)
        self._boot: Fat | None = None
        self._boot_files: dict[str, bytes] = {}
        self._boot_free = 0
        self._unfinished: set[str] = set()
        for part in partitions:
            if part.system == "fat" and not self._boot:
                self._try_boot(part)

    def _try_boot(self, part: Partition) -> None:
        need(FAT)
        fat = Fat(self._path, part.start)
        files = fat.read(NAMES)
        if {"cmdline.txt", "config.txt"} & {*files}:
            self._boot, self._boot_files, self._boot_free = Fat(self._at, part.start), files, fat.free()
            self._unfinished = fat.unfinished()

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """See `system.Read`."""
        return self._source.read(paths)

    def boot(self) -> dict[str, bytes]:
        """What is there of `first_boot.NAMES` on the boot partition."""
        return self._boot_files

    def room(self) -> tuple[int, int]:
        """Free bytes and inodes of the root file system."""
        facts = self._source.facts()
        blocks = int(facts["Free blocks"]) - int(facts["Reserved block count"])
        return max(blocks, 0) * int(facts["Block size"]), int(facts["Free inodes"])

    def boot_room(self) -> int:
        """Free bytes of the boot partition."""
        return self._boot_free

    def torn(self) -> bool:
        """Whether its root file system says of itself that it has errors."""
        return "errors" in self._source.facts()["Filesystem state"]

    def sound(self, mend: bool) -> None:
        """See that its root file system is whole, before anything else is believed of it.

        One that says that it has errors was left by an interrupted run of ours, or by the system itself: it is mended, as it
        would be when it boots. Any other is not changed; what a system that was switched off has not brought to an end waits.

        Args:
            mend: whether it may be changed at all.

        Raises:
            DeployError: it is damaged; or it would have to be mended.
        """
        if self.torn():
            if not mend:
                raise DeployError(f"{self.name}: an interrupted run has left it half-written; complete that first: --image alone")
            with self._source.alone():
                self._source.check("-y")
        elif "needs_recovery" not in self._source.facts()["Filesystem features"]:
            self._source.check("-n")

    def look(self, plan: Plan) -> dict[str, Found]:
        """See `plan.missing`."""
        return _look(self._source, plan)

    def lay(self, plan: Plan) -> None:
        """Do what is missing, and see that all of the plan is there.

        From the first byte to the last the file system says of itself that it has errors, so that a run that was interrupted is
        known for one: see `sound`.

        Raises:
            DeployError: something cannot be written.
        """
        with self._root.alone():
            new = {
                name: content
                for name, content in plan.boot.items()
                if self._boot_files.get(name) != content or name in self._unfinished
            }
            if not new and not missing(plan, _look(self._root, plan)):
                return
            # What its last user has not brought to an end comes first: it would be done over what we write.
            self._root.check("-p")
            self._root.mark(ERRORS)
            for name, content in new.items():
                assert self._boot is not None
                self._boot.write(name, content)
            found = _look(self._root, plan)
            self._root.apply(missing(plan, found), found)
            # What is read back is the card's, not this machine's memory of it.
            self._root.settle()
            there = self._boot.read(new) if self._boot else {}
            lost = [f"{name} on its boot partition" for name in new if there.get(name) != new[name]]
            lost += [step.path for step in missing(plan, _look(self._root, plan))]
            if lost:
                raise DeployError(f"{self._at}: {lost[0]} is not what was written; is the card worn out?")
            # It finds nothing to mend but the mark.
            self._root.check("-y")


def _look(root: Ext4, plan: Plan) -> dict[str, Found]:
    folders = {path.rpartition("/")[0] for path in asked(plan)}
    found = {"/": Found("folder", 0o755), **root.inside(folders)}
    # The bundle's folder to its depth: what does not belong there goes.
    level = {path for path, there in found.items() if path.startswith(BUNDLE) and there.kind == "folder"}
    while level:
        below = root.inside(level)
        level = {path for path, there in below.items() if there.kind == "folder" and path not in found}
        found |= below
    wanted = asked(plan)
    found = {path: there for path, there in found.items() if path in wanted or path.startswith(f"{BUNDLE}/")}
    files = [file.path for file in plan.files if file.path in found and found[file.path].kind == "file"]
    links = [entry.path for entry in (*plan.entries, plan.done) if isinstance(entry, Link)]
    values = root.digests(files) | root.targets(path for path in links if path in found and found[path].kind == "link")
    return found | {path: found[path]._replace(value=value) for path, value in values.items()}


def _list(partitions: Iterable[Partition]) -> str:
    return ", ".join(f"{part.number}: {part.system}" for part in partitions)
