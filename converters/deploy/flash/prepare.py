"""Everything that could be wrong is looked at before the first byte is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from converters.deploy.flash.board import make_plan
from converters.deploy.flash.first_boot import grows
from converters.deploy.flash.personal import Personal
from converters.deploy.flash.plan import Found, Plan, Step, describe, missing
from converters.deploy.flash.system import examine
from converters.deploy.verify import Bundle
from edge.errors import DeployError

# What the installer asks for beside the installed size and a tenth of it.
SPARE = 32 << 20
BLOCK = 4096
# Folders that grow, and the bookkeeping of larger files.
OVERHEAD = 1 << 20


class Target(Protocol):
    """What a plan is laid down on: a folder, an image or card, a board that runs.

    Attributes:
        name: what to call it.
        running: it has booted before.
    """

    name: str
    running: bool

    def read(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        """See `system.Read`."""

    def boot(self) -> Mapping[str, bytes]:
        """What is there of `first_boot.NAMES` on its boot partition, if it has one."""

    def room(self) -> tuple[int, int]:
        """Free bytes and inodes."""

    def boot_room(self) -> int:
        """Free bytes of its boot partition."""

    def look(self, plan: Plan) -> Mapping[str, Found]:
        """See `plan.missing`."""

    def lay(self, plan: Plan) -> None:
        """Do what is missing. Interrupted, it goes on when it is called again."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan, and what of it is to do: steps, and the names of files of the boot partition."""

    plan: Plan
    steps: tuple[Step, ...]
    boot: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """One for each step."""
        yield from describe(self.steps)
        for name in self.boot:
            yield f"write  {name} on the boot partition ({len(self.plan.boot[name]):,} bytes)"


def prepare(target: Target, bundle: Bundle, content: Path, personal: Personal, growth: int | None = None) -> Prepared:
    """Look at a target, and plan what it gets.

    Args:
        target: where it goes.
        bundle, content: the bundle, verified, and the folder that it is unpacked in.
        personal: what was asked for.
        growth: bytes by which the root file system grows at the first boot, where the system does that; None is not known.

    Raises:
        DeployError: the bundle is not for it, it has no room, or something is in the way.
    """
    there = target.boot()
    system = examine(target.read, bundle, target.name, running=target.running)
    plan = make_plan(content, personal, system, there)
    found = target.look(plan)
    steps = missing(plan, found)
    boot = tuple(name for name, text in plan.boot.items() if there.get(name) != text)
    # What an earlier run has laid down takes no more room.
    new = [entry for entry in plan.entries if entry.path not in found]
    files = [file for file in plan.files if file.path not in found]
    size = sum(-(-file.size // BLOCK) * BLOCK for file in files) + BLOCK * len(new) + (OVERHEAD if steps else 0)
    installed = bundle.installed_bytes + bundle.installed_bytes // 10 + SPARE
    free, inodes = target.room()
    later = free + (installed if growth is None else growth) if grows(there) else free
    if free < size or later < size + installed:
        needed, has = (size, free) if free < size else (size + installed, later)
        raise DeployError(
            f"{target.name}: no room: {needed / 1e6:.0f} MB are needed and {has / 1e6:.0f} MB are free; make it larger"
        )
    if inodes < len(new) + 1:
        raise DeployError(f"{target.name}: no room for {len(new)} more files, whatever their size; make it larger")
    if boot and target.boot_room() < sum(-(-len(plan.boot[name]) // BLOCK) * BLOCK for name in boot) + 4 * BLOCK:
        raise DeployError(f"{target.name}: its boot partition is full; remove something, or use a fresh image")
    return Prepared(plan, steps, boot)
