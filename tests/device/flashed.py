"""A board that has installed itself: flashed, booted, and first heard of by its events."""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brokers import HOST as LOOPBACK
from brokers import Mosquitto, Subscriber, free_port, wait_for
from device import parts
from device.board import BOOT, HOST, Board
from device.cache import cached, digest
from model_packages import Owner

from converters.deploy.line import Place

NAME = "board-1"
# Who listens, and who brings models.
READER = "reader"
INSTALL = 3600.0


class Flashed:
    """What there is of a board while it is off: image, owner's key, broker's users; and how long its first day took.

    Attributes:
        seconds: from the start of edge-flash, until: flashed, image, boot (it takes commands), event (the first one), installed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.image, self.seed = folder, folder / "disk.img", folder / "seed.json"
        facts = json.loads(self.seed.read_text())
        self.port, self.password = facts["port"], facts["password"]
        self.seconds: dict[str, float] = facts.get("seconds", {})
        self.owner_key = folder / "owner.key"

    @property
    def place(self) -> Place:
        """For `edge-model` and its like."""
        return Place(LOOPBACK, self.port, f"emotion/{NAME}", READER, self.password)

    @contextmanager
    def broker(self, folder: Path) -> Iterator[Mosquitto]:
        """A mosquitto that the board can reach, and nobody without a password."""
        users = {NAME: self.password, READER: self.password}
        with Mosquitto(folder, f"listener {self.port} {LOOPBACK}", users=users) as broker:
            yield broker

    def subscriber(self) -> Subscriber:
        """Whoever hears everything."""
        return Subscriber(self.port, username=READER, password=self.password)

    def copy(self, folder: Path) -> Path:
        """An image of one's own."""
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(self.image, folder / "disk.img"))


def flashed() -> Flashed:
    """The image of a board after its first boot, made once for each bundle; the way there is the promise."""
    files = [parts.bundle(), *sorted(parts.GUEST.glob("*.py")), Path(parts.__file__), Path(__file__)]
    return Flashed(cached("board", digest([parts.debian.root().parent.name, *files]), _make))


def setup_is(board: Board, state: str) -> bool:
    """What has become of the first-boot unit."""
    time.sleep(1)
    return board.run("systemctl show -p ActiveState --value emotion-edge-setup").strip() == state


def _make(folder: Path) -> None:
    seed = {"port": free_port(), "password": secrets.token_urlsafe()}
    (folder / "seed.json").write_text(json.dumps(seed))
    owner = Owner(folder)
    bundle = parts.bundle()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        root = parts.unpack_root(work / "root")
        parts.equip(root)
        (work / "config.toml").write_text(parts.settings(bundle, work / "bundle"))
        lines = {"host": HOST, "username": NAME, "password": seed["password"]}
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items()) + f"port = {seed['port']}\n"
        (work / "mqtt.toml").write_text(text)
        begun, seconds = time.monotonic(), dict[str, float]()

        def passed(what: str) -> None:
            seconds[what] = round(time.monotonic() - begun, 1)

        files = ["--mqtt-file", work / "mqtt.toml", "--update-key", owner.public, "--config", work / "config.toml"]
        parts.command("flash", "--bundle", bundle, "--rootfs", root, "--hostname", NAME, *files)
        passed("flashed")
        parts.make_image(root, folder / "disk.img")
        passed("image")
        shutil.rmtree(root)
        board = Board(parts.firmware(), folder / "disk.img", folder)
        half = Flashed(folder)
        with half.broker(work / "mosquitto"), half.subscriber() as subscriber, board:
            board.start()
            board.wait()
            passed("boot")
            wait_for(lambda: subscriber.events() or setup_is(board, "failed"), INSTALL, "the first event")
            assert subscriber.events(), f"the installation has failed: {board.said()}"
            passed("event")
            wait_for(lambda: not setup_is(board, "activating"), BOOT, "the installer ends")
            passed("installed")
            board.run("test -e /opt/emotion-edge/current")
            board.stop()
    (folder / "seed.json").write_text(json.dumps({**seed, "seconds": seconds}))
