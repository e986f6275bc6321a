"""A device's updates in a process that is made to be killed: `python tests/update_child.py KEY MODEL [hasty] [unsynced]`.

It imports everything once, then reads lines `FOLDER N` from standard input and forks for each: the child pushes one package
after the other through the real inbox into real slots, without a broker, and kills itself with SIGKILL before its N-th
operation on the file system (0: never; it is for others to kill, or ends after one package with the number of operations).

`hasty` is the negative control: the pointer is written before the files. `unsynced` leaves out every fsync.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from model_packages import copy_model, hear_all

from converters.deploy.model_package import load_private_key, pack
from edge.config import Settings, UpdateSettings
from edge.update import updates
from edge.update.package import Installed, Package, open_seal, read_seal
from edge.update.slots import Pointer, Slots

# What changes something (https://docs.python.org/3/library/audit_events.html), and `open`.
OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"}


class Hasty(Slots):
    """Says that a model is kept before it is there."""

    def stage(self, package: Package, incoming: Path) -> Installed:
        head = package.head
        slot = "b" if self.pointer.committed is not None and self.pointer.committed.slot == "a" else "a"
        there = Installed(slot, package.id, head.counter, head.name, head.version, head.files[0].name)  # type: ignore[arg-type]
        old = self.pointer
        self.write(Pointer(counter=head.counter, committed=there))
        self.pointer = old
        return super().stage(package, incoming)


def package_for(folder: Path, key: Path, counter: int) -> bytes:
    return pack(copy_model(folder / f"made-{os.getpid()}-{counter}", f"1.{counter}"), load_private_key(key), counter)[1]


def deliver(settings: UpdateSettings, folder: Path, content: bytes, package: Package) -> None:
    """Push one package and wait until it is kept."""
    taking = updates.Updates(settings, folder)
    taking.open(Settings())
    said: list[str | None] = []
    taking.start(lambda _, error: said.append(error))
    hear_all(taking, content, package)
    until = time.monotonic() + 60
    while taking._slots.pointer.counter < package.head.counter:
        assert not any(said), said
        assert time.monotonic() < until, "not kept within a minute"
        taking.turn(0, watching=True)
        time.sleep(0.001)
    taking._inbox._stop.set()


def count_operations(folder: Path, die_at: int) -> list[int]:
    """From now on; the process ends before the one of that number."""
    seen = [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in OPERATIONS and str(arguments[0]).startswith(str(folder)):
            seen[0] += 1
            if seen[0] == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return seen


def run(key: Path, folder: Path, die_at: int, forever: bool, prepared: dict[int, bytes]) -> None:
    settings = UpdateSettings(str(key.with_suffix(".pub")), healthy=0.0)
    public = load_private_key(key).public_key()
    present = Slots(folder, public).pointer.counter
    seen = count_operations(folder, die_at)
    for counter in itertools.count(present + 1):
        content = prepared.get(counter) or package_for(folder.parent, key, counter)
        deliver(settings, folder, content, open_seal(read_seal(content), public))
        if not forever:
            break
    print("operations", seen[0], flush=True)


def main() -> None:
    key, made = Path(sys.argv[1]), Path(sys.argv[2])
    if "hasty" in sys.argv:
        updates.Slots = Hasty  # type: ignore[misc]
    if "unsynced" in sys.argv:
        os.fsync = lambda _descriptor: None  # type: ignore[assignment]
    prepared = {counter: package_for(made, key, counter) for counter in range(1, 4)}
    print("ready", flush=True)
    for line in sys.stdin:
        folder, number = line.split()
        child = os.fork()
        if child == 0:
            run(key, Path(folder), max(0, int(number)), int(number) < 0, prepared)
            os._exit(0)
        print("pid", child, flush=True)
        status = os.waitpid(child, 0)[1]
        print("ended", os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
