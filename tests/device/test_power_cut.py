"""The power goes: qemu is killed, and with it whatever the board had not brought to its disk.

Three cuts of each kind, or as many as EMOTION_EDGE_POWER_CUTS says (of an update; a boot for each).
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from brokers import Mosquitto, Subscriber, wait_for
from device import parts
from device.board import BOOT, Board
from device.cuts import SEED, Pushing, moments
from device.flashed import Flashed

from converters.deploy.line import Place
from converters.deploy.model_package import load_private_key, pack
from converters.deploy.push import ask
from edge.errors import UpdateError
from edge.update.package import Progress

# Keeps what was measured.
Note = Callable[[str], None]
CUTS = int(os.environ.get("EMOTION_EDGE_POWER_CUTS", "3"))
EVENT_CUTS = 3
FEW = 3
CONFIG = "/etc/emotion-edge/config.toml"
# Every fsync of the service says that it is done, and nothing is done.
EATEN = "[Service]\nTimeoutStartSec=900\nEnvironment=LD_PRELOAD=libeatmydata.so\n"
# A start that takes a second on a board takes a minute here, when this machine has other things to do.
SLOW = "[Service]\nTimeoutStartSec=900\n"
DROP_IN = "/etc/systemd/system/emotion-edge.service.d"


def wait_for_answer(place: Place) -> Progress:
    """What the device says of its updates, once it is up."""
    until = time.monotonic() + BOOT
    while True:
        try:
            return ask(place, 30.0)
        except UpdateError:
            assert time.monotonic() < until, "the device does not answer"


def current(board: Board) -> tuple[str | None, int]:
    """Version and counter of the model that counts; it fails when that is damaged, or its golden scores are not its own."""
    found = json.loads(board.run(f"{parts.PYTHON} {parts.TOOLS}/slots.py 2>/dev/null"))
    return found["version"], found["counter"]


def watch_the_camera(board: Board) -> None:
    """Updates are for live sources: the V4L2 camera."""
    for key, value in (("source", '"0"'), ("width", "320"), ("height", "180"), ("fps", "5.0")):
        board.run(f"sed -i '/^.camera/,/^.detector/ s|^#*{key} = .*|{key} = {value}|' {CONFIG}")
    board.run(f"mkdir -p {DROP_IN}")
    board.write(f"{DROP_IN}/slow.conf", SLOW)
    board.run("systemctl daemon-reload && systemctl restart emotion-edge && sync", 900)


def wait_for_frames(heard: Subscriber) -> None:
    """It works, and not only answers."""
    count = len(heard.decoded("/stats"))
    wait_for(lambda: any(stats["fps"] > 0 for stats in heard.decoded("/stats")[count:]), 300, "frames")


def update(day_one: Flashed, folder: Path, number: int) -> Pushing:
    """Push version 1.1.`number`."""
    folder.mkdir(parents=True, exist_ok=True)
    package, content = pack(parts.copy_model(folder, f"1.1.{number}"), load_private_key(day_one.owner_key), number)
    return Pushing(package, content, day_one.place)


def test_during_an_update_one_valid_model_is_left(
    off: Board, day_one: Flashed, heard: Subscriber, tmp_path: Path, note: Note
) -> None:
    board = off
    board.start()
    board.wait()
    watch_the_camera(board)
    wait_for_answer(day_one.place)
    whole = update(day_one, tmp_path / "0", 1)
    lasts = whole.lasts()
    whole.join()
    before, counter = current(board)
    assert (before, counter) == ("1.1.1", 1)
    note("an update without a cut: " + ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in lasts.items()))
    for number, moment in enumerate(moments(CUTS), 2):
        pushing = update(day_one, tmp_path / str(number), number)
        pushing.wait(moment, lasts)
        board.kill()
        phase, told = pushing.phase, f"{pushing.there}/{pushing.chunks}"
        begun = time.monotonic()
        board.start()
        board.wait()
        pushing.join()
        answer = wait_for_answer(day_one.place)
        back = time.monotonic() - begun
        after, counter = current(board)
        note(f"cut {number - 1:2}: {moment!s:15} ({phase}, chunks {told}): {before} -> {after}, answers {back:.0f} s after power")
        new = f"1.1.{number}"
        assert after in ({new} if phase == "kept" else {before, new} if phase == "trial" else {before})
        assert answer.committed is not None
        assert (answer.committed.version, answer.counter) == (after, counter)
        assert f" {after} " in answer.running
        assert board.run("systemctl show -p ActiveState,NRestarts emotion-edge").split() == ["NRestarts=0", "ActiveState=active"]
        wait_for_frames(heard)
        before = after


def test_events_that_were_committed_arrive(off: Board, broker: Mosquitto, heard: Subscriber, note: Note) -> None:
    draw = random.Random(SEED)
    off.start()
    off.wait()
    off.run(f"mkdir -p {DROP_IN}")
    off.write(f"{DROP_IN}/slow.conf", SLOW)
    off.run("sync")
    for number in range(EVENT_CUTS):
        seen = events_until_a_cut(off, broker, 3 + draw.randrange(12), draw.random())
        missing = missing_after_boot(off, broker, heard, seen)
        note(f"cut {number + 1} while events are written: {len(missing)} of {len(seen)} are missing")
        assert not missing


def test_without_fsync_committed_events_are_lost(off: Board, broker: Mosquitto, heard: Subscriber, note: Note) -> None:
    """The negative control: the cut is a real one."""
    off.start()
    off.wait()
    off.run(f"mkdir -p {DROP_IN}")
    off.write(f"{DROP_IN}/eaten.conf", EATEN)
    off.run("sync && systemctl daemon-reload && systemctl restart emotion-edge", 600)
    assert "libeatmydata" in off.run("cat /proc/$(systemctl show -p MainPID --value emotion-edge)/maps")
    seen = events_until_a_cut(off, broker, 10, 0.0)
    missing = missing_after_boot(off, broker, heard, seen)
    note(f"the same without fsync: {len(missing)} of {len(seen)} are missing")
    assert missing


def events_until_a_cut(board: Board, broker: Mosquitto, more: int, later: float) -> dict[int, str]:
    """Take the broker away, let the board write so many events, and cut. Returns number and sha256 of those on disk."""
    broker.stop()
    board.run(f"systemd-run --unit=seen /usr/bin/python3 {parts.TOOLS}/committed.py")
    wait_for(lambda: len(board.seen.read_text().splitlines()) > more, 900, "events in the outbox")
    time.sleep(later)
    board.kill()
    # The last line may be cut off, too.
    lines = [line.split() for line in board.seen.read_text().rpartition("\n")[0].splitlines()]
    return {int(number): digest for number, digest in lines}


def missing_after_boot(board: Board, broker: Mosquitto, heard: Subscriber, seen: dict[int, str]) -> list[int]:
    """Boot with the broker, wait until the outbox has nothing old left, and list what has not arrived."""
    first, count = len(heard.events()), len(heard.decoded("/stats"))
    broker.start()
    board.start()
    board.wait()
    # A few are always on their way, as the portrait goes on.
    wait_for(lambda: any(stats["events"]["waiting"] < FEW for stats in heard.decoded("/stats")[count:]), 900, "an empty outbox")
    wait_for(lambda: len(heard.events()) > first, 300, "events")
    # By content: an event that was lost leaves its number to another one.
    arrived = {sha256(payload).hexdigest() for payload in heard.payloads("/events")[first:]}
    return [number for number, digest in seen.items() if digest not in arrived]
