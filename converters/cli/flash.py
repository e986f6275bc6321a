"""edge-flash --bundle b.tar.xz --image IMG: a bundle onto a card, an image, a root file system or a running board.

The board installs it at its next boot by itself; over ssh at once.
"""

from __future__ import annotations

import argparse
import getpass
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge.cli.exits import FAILED_GATE, OK, UNUSABLE, Parser, exit_status
from edge.errors import ConfigError, DeployError

if TYPE_CHECKING:
    from converters.deploy.flash.device import Disk, Kernel
    from converters.deploy.flash.plan import Plan
    from converters.deploy.flash.prepare import Target

PROG = "edge-flash"
EPILOG = """examples:
  edge-flash --bundle b.tar.xz --image raspios.img --hostname camera-1 --wifi-file wifi.toml --mqtt-file mqtt.toml
  sudo .venv/bin/edge-flash --bundle b.tar.xz --device /dev/sdb --image raspios.img      write the card too
  sudo .venv/bin/edge-flash --bundle b.tar.xz --rootfs /mnt                              a card that is mounted
  edge-flash --bundle b.tar.xz --ssh pi@camera-1                               a board that runs
secrets come from files (docs/flash.md) or are asked for, never from a flag
exit status: 0 done, 1 installed over ssh and not healthy, 2 unusable input, and nothing was changed"""


def main(argv: list[str] | None = None, kernel: Kernel | None = None) -> int:
    """Run the command.

    Args:
        argv: else of the process.
        kernel: where disks are looked for; a test's own.
    """
    return exit_status(PROG, lambda: _run(_parser().parse_args(argv), kernel))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROG, description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, metavar="B.tar.xz", help="what edge-bundle has made")
    parser.add_argument("--dry-run", action="store_true", help="show every step and take none")
    where = parser.add_argument_group("where it goes: one of them, or --device with --image")
    where.add_argument("--rootfs", type=Path, metavar="DIR", help="the root of a board's system, mounted or in a folder")
    where.add_argument("--image", type=Path, metavar="IMG", help="an image of a card; with --device it is written there")
    where.add_argument("--device", type=Path, metavar="/dev/sdX", help="a card in a reader; its name has to be typed")
    where.add_argument("--ssh", metavar="HOST", help="a board that runs")
    where.add_argument("--ssh-config", type=Path, metavar="FILE", help="instead of ~/.ssh/config (ssh -F)")
    own = parser.add_argument_group("what makes it your own")
    own.add_argument("--hostname", help="of the board; its name in the topics too")
    own.add_argument("--wifi-file", type=Path, metavar="FILE", help="TOML: ssid, country, password, hidden")
    own.add_argument("--ssh-key", type=Path, metavar="FILE.pub", help="who may log in")
    own.add_argument("--mqtt-file", type=Path, metavar="FILE", help="TOML: host, port, username, password, tls, ca_file …")
    own.add_argument("--update-key", type=Path, metavar="owner.pub", help="whose models it takes over MQTT (edge-model keygen)")
    own.add_argument("--config", type=Path, metavar="FILE", help="settings in place of the bundle's or the board's")
    return parser


def _run(arguments: argparse.Namespace, kernel: Kernel | None) -> int:
    from converters.deploy.flash.device import Kernel, open_disk
    from converters.deploy.flash.personal import read_personal
    from converters.deploy.flash.prepare import prepare
    from converters.deploy.verify import unpack

    _one_place(arguments)
    disk = open_disk(arguments.device, kernel or Kernel()) if arguments.device else None
    personal = read_personal(
        hostname=arguments.hostname,
        wifi=arguments.wifi_file,
        mqtt=arguments.mqtt_file,
        ssh_key=arguments.ssh_key,
        update_key=arguments.update_key,
        config=arguments.config,
        ask=(lambda question: _answer(getpass.getpass, question)) if sys.stdin.isatty() else None,
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "bundle"
        bundle = unpack(arguments.bundle, folder)
        place = _place(arguments, disk, stack)
        prepared = prepare(place.target, bundle, folder, personal, place.growth)
        print(f"{arguments.bundle} ({bundle.version}, {bundle.model}) -> {disk.path if disk else place.target.name}")
        if arguments.dry_run:
            if disk and arguments.image:
                print(f"  write  {arguments.image} to {disk.path} ({_about(disk)}), and read it back")
            for line in prepared.lines():
                print(f"  {line}")
            print("nothing was done (--dry-run)")
            return OK
        if disk and not place.confirmed:
            _confirm(disk, erase=bool(arguments.image))
        place.write(prepared.plan)
        taken = len(prepared.steps) + len(prepared.boot)
        print(f"  {taken} steps taken" if taken else "  it was all there")
        return place.finish()


def _one_place(arguments: argparse.Namespace) -> None:
    given = [name for name in ("rootfs", "image", "device", "ssh") if getattr(arguments, name)]
    if len(given) != 1 and given != ["image", "device"]:
        raise ConfigError([f"give one of --rootfs, --image, --device and --ssh (or --device with --image); see {PROG} --help"])
    if arguments.ssh_config and not arguments.ssh:
        raise ConfigError(["--ssh-config needs --ssh"])


@dataclass(frozen=True, slots=True)
class _Place:
    """A target, with what is particular about it.

    Attributes:
        target: the target.
        write: lays a plan down.
        finish: says what comes next, or does it; the exit status.
        growth: see `prepare`.
        confirmed: a person has typed the disk's name already.
    """

    target: Target
    write: Callable[[Plan], None]
    finish: Callable[[], int]
    growth: int | None = None
    confirmed: bool = False


def _place(arguments: argparse.Namespace, disk: Disk | None, stack: ExitStack) -> _Place:
    if arguments.ssh:
        return _remote(arguments, stack)
    if arguments.rootfs:
        from converters.deploy.flash.folder import FolderTarget, need_root

        if not arguments.dry_run:
            need_root()
        folder = FolderTarget(arguments.rootfs)
        return _Place(folder, folder.lay, lambda: _done(arguments.rootfs))
    mend = not arguments.dry_run
    return _disk(disk, arguments.image, mend) if disk else _image(arguments.image, mend)


def _image(path: Path, mend: bool) -> _Place:
    from converters.deploy.flash.image import ImageTarget

    image = ImageTarget(path)
    image.sound(mend)
    return _Place(image, image.lay, lambda: _done(path))


def _disk(disk: Disk, source: Path | None, mend: bool) -> _Place:
    from converters.deploy.flash.device import fits, write_image
    from converters.deploy.flash.image import ImageTarget

    image = ImageTarget(source, at=disk.path) if source else ImageTarget(disk.path, disk.size)
    if source is None:
        # To mend what an interrupted run has left is to write.
        if torn := image.torn() and mend:
            _confirm(disk, erase=False)
        image.sound(mend)
        return _Place(image, image.lay, lambda: _done(disk.path), image.behind, confirmed=torn)
    # A source stays as it is.
    image.sound(mend=False)
    fits(source, disk)
    if not image.first:
        raise DeployError(f"{source}: a file system without a partition table, which no board starts from; give a card's image")
    return _Place(
        image,
        lambda plan: write_image(source, disk, image.first, lambda: image.lay(plan), _progress),
        lambda: _done(disk.path),
        disk.size - image.size + image.behind,
    )


def _remote(arguments: argparse.Namespace, stack: ExitStack) -> _Place:
    from converters.deploy.flash.remote import connect

    options = ["-F", str(arguments.ssh_config)] if arguments.ssh_config else []
    board = stack.enter_context(connect(arguments.ssh, options))

    def install() -> int:
        # What it says comes after what we have said.
        sys.stdout.flush()
        status = board.install()
        return status if status in (OK, FAILED_GATE) else UNUSABLE

    return _Place(board, board.lay, install)


def _done(place: Path) -> int:
    print(f"done; {place} installs itself at its next boot (there: journalctl -u emotion-edge-setup)")
    return OK


def _confirm(disk: Disk, erase: bool) -> None:
    """The name is typed by a person: a script or a pipe cannot know which card is in the reader today."""
    if not sys.stdin.isatty():
        raise DeployError(f"{disk.path}: its name has to be typed at a terminal; there is no flag for it")
    what = "EVERYTHING on it is erased" if erase else "its system is changed"
    print(f"{disk.path}: {_about(disk)}; {what}")
    if _answer(input, f"type {disk.name} to go on: ").strip() != disk.name:
        raise DeployError("nothing was done: that was not its name")


def _answer(ask: Callable[[str], str], question: str) -> str:
    try:
        return ask(question)
    except EOFError:
        raise DeployError("nothing was done: no answer") from None


def _about(disk: Disk) -> str:
    return f"{disk.model or 'no name'}, {disk.size / 1e9:.1f} GB"


def _progress(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{PROG}: {what} {done / total:4.0%} of {total / 1e9:.1f} GB", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
