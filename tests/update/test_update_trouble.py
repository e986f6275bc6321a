"""Updates on a disk that takes nothing, and beside a reload that fails: the inbox lives on, and what runs is what ran."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from brokers import wait_for
from fakes import ManualClock
from model_packages import SMALL_MODEL, Owner, damage, hear_all, hear_chunk

from edge.config import ModelSettings, Settings, UpdateSettings
from edge.errors import EmotionEdgeError
from edge.reload import Opened
from edge.update.inbox import IDLE
from edge.update.package import OFFER, STATUS
from edge.update.slots import Slots
from edge.update.transfer import Transfer
from edge.update.updates import RETRY, Updates

HEALTHY = 10.0


class Board:
    """Updates alone, with a clock that is moved by hand.

    Attributes:
        told: every answer: how it stands, and why something was not done.
    """

    def __init__(self, folder: Path, owner: Owner) -> None:
        self.folder, self.clock, self._owner = folder, ManualClock(), owner
        self.told: list[tuple[dict[str, Any], str | None]] = []
        self.updates = Updates(UpdateSettings(str(owner.public), HEALTHY), folder, self.clock)
        self.updates.open(Settings())
        self.updates.start(lambda progress, error: self.told.append((progress, error)))

    @property
    def incoming(self) -> Transfer | None:
        return self.updates._inbox.transfer

    @property
    def running(self) -> str:
        """The model that the device says it runs."""
        self.updates.hear(STATUS, token := os.urandom(8).hex().encode(), False)
        told = wait_for(lambda: [progress for progress, _ in self.told if progress["token"] == token.decode()])
        return str(told[0]["running"])

    def offer(self, content: bytes) -> None:
        self.updates.hear(OFFER, self._owner.open(content).seal, False)

    def chunk(self, content: bytes, number: int) -> None:
        hear_chunk(self.updates, content, self._owner.open(content), number)

    def turn(self, restarts: int = 0) -> Opened | None:
        return self.updates.turn(restarts, watching=True)

    def put_on_trial(self, content: bytes) -> Opened:
        hear_all(self.updates, content, self._owner.open(content))
        return wait_for(self.turn, 20)

    def keep(self, content: bytes) -> None:
        self.put_on_trial(content)
        self.clock.pass_by(HEALTHY)
        assert self.turn() is None
        assert not self.on_trial

    @property
    def on_trial(self) -> bool:
        return self.updates._trial is not None

    def block_pointer(self) -> Path:
        """From now on the pointer cannot be written, until the folder that is returned is gone."""
        (self.folder / "pointer.new").mkdir()
        return self.folder / "pointer.new"


@pytest.fixture
def board(tmp_path: Path, owner: Owner) -> Iterator[Board]:
    board = Board(tmp_path / "models", owner)
    yield board
    board.updates.stop()


@pytest.mark.parametrize("fault", ["written", "synced"])
def test_a_transfer_that_the_disk_refuses_is_over_and_the_next_one_goes_through(
    tmp_path: Path, owner: Owner, board: Board, fault: str
) -> None:
    content = owner.pack(tmp_path / "m")
    board.offer(content)
    board.chunk(content, 0)
    transfer = wait_for(lambda: board.incoming if board.incoming is not None and board.incoming.next == 1 else None)
    # A device that refuses writing (ENOSPC) and syncing (EINVAL), in the file's place.
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, transfer._file.fileno())
    os.close(full)
    if fault == "written":
        # And a name that cannot be removed.
        transfer.path.unlink()
        transfer.path.mkdir()
        board.chunk(content, 1)
        wait_for(lambda: "the disk does not take it (No space left on device)" in [error for _, error in board.told])
    else:
        board.clock.pass_by(IDLE + 1)
    wait_for(lambda: board.updates._inbox.phase == "idle")
    assert board.running.startswith("mobilenet 1.0.0"), "the thread answers"
    if fault == "written":
        transfer.path.rmdir()
    board.keep(content)
    assert board.running.startswith("micro 1.1.0")


def test_a_model_that_fails_is_taken_back_though_nothing_can_be_written(tmp_path: Path, owner: Owner, board: Board) -> None:
    board.put_on_trial(owner.pack(tmp_path / "m"))
    blocked = board.block_pointer()
    back = board.turn(restarts=1)
    assert back is not None
    assert back.models.classifier.manifest.version == "1.0.0"
    assert board.running.startswith("mobilenet 1.0.0")
    assert "taken back" in str(board.told[-2][1])
    blocked.rmdir()
    board.keep(owner.pack(tmp_path / "n", "1.2.0", 101))
    assert board.running.startswith("micro 1.2.0")


def test_a_pointer_that_cannot_be_written_is_tried_again_now_and_then_and_the_trial_watched_meanwhile(
    tmp_path: Path, owner: Owner, board: Board, caplog: pytest.LogCaptureFixture
) -> None:
    board.put_on_trial(owner.pack(tmp_path / "m"))
    blocked = board.block_pointer()
    board.clock.pass_by(HEALTHY)
    for tries in (1, 2):
        for _ in range(10):
            assert board.turn() is None
        assert caplog.text.count("the pointer cannot be written") == tries
        board.clock.pass_by(RETRY)
    blocked.rmdir()
    board.turn()
    assert not board.on_trial
    board.put_on_trial(owner.pack(tmp_path / "n", "1.2.0", 101))
    board.block_pointer()
    board.clock.pass_by(HEALTHY)
    assert board.turn() is None
    back = board.turn(restarts=1)
    assert back is not None, "a failure during the pause is seen"
    assert back.models.classifier.manifest.version == "1.1.0"


BAD = Settings(model=ModelSettings(delegate="/nowhere/delegate.so"))


def test_a_reload_that_fails_changes_nothing(tmp_path: Path, owner: Owner, board: Board) -> None:
    """Neither the model that counts nor the settings for the next one."""
    with pytest.raises(EmotionEdgeError):
        board.updates.reopen(BAD)
    board.keep(owner.pack(tmp_path / "m"))
    board.keep(owner.pack(tmp_path / "n", "1.2.0", 101))
    damage(board.folder / "b")
    with pytest.raises(EmotionEdgeError, match="is damaged"):
        board.updates.reopen(Settings())
    assert board.running.startswith("micro 1.2.0"), "neither the one before nor the settings' takes its place"


def test_a_reload_that_fails_during_a_trial_leaves_the_trial(tmp_path: Path, owner: Owner, board: Board) -> None:
    board.keep(owner.pack(tmp_path / "m"))
    board.put_on_trial(owner.pack(tmp_path / "n", "1.2.0", 101))
    assert board.updates.reopen(Settings()).models.classifier.manifest.version == "1.2.0"
    damage(board.folder / "b")
    with pytest.raises(EmotionEdgeError, match="is damaged"):
        board.updates.reopen(Settings())
    assert board.running.startswith("micro 1.2.0"), "what is kept later is what runs"
    back = board.turn(restarts=1)
    assert back is not None
    assert back.models.classifier.manifest.version == "1.1.0"


def test_where_no_pushed_model_could_be_opened_a_reload_takes_the_settings(tmp_path: Path, owner: Owner, board: Board) -> None:
    """As after a change of the key: what cannot be used at the start must not keep the settings' model from being changed."""
    board.keep(owner.pack(tmp_path / "m"))
    damage(board.folder / "a")
    again = Updates(UpdateSettings(str(owner.public), HEALTHY), board.folder)
    assert again.open(Settings()).models.classifier.manifest.version == "1.0.0"
    assert again.reopen(Settings(model=ModelSettings(threads=1))).settings.threads == 1


def test_a_kept_model_that_is_damaged_counts_no_more(tmp_path: Path, owner: Owner, board: Board) -> None:
    """Else the slot of the one that runs in its place would be written next, and a pusher be told that it runs."""
    board.keep(owner.pack(tmp_path / "m"))
    board.keep(owner.pack(tmp_path / "n", "1.2.0", 101))
    board.updates.stop()
    damage(board.folder / "b")
    again = Board(board.folder, owner)
    again.updates.hear(STATUS, b"token", False)
    progress, _ = wait_for(lambda: again.told)[-1]
    assert (progress["running"].split()[1], progress["committed"]["version"]) == ("1.1.0", "1.1.0")
    others = [{"rule": f"v1:{number}", "scores": [1, 0, 0, 0, 0, 0, 0]} for number in range(3)]
    bad = owner.sign_model(tmp_path / "o", 102, golden=others)
    hear_all(again.updates, bad, owner.open(bad))
    wait_for(lambda: [error for _, error in again.told if error and "is refused" in error], 20)
    assert Slots(board.folder, owner.key.public_key()).pointer.committed.version == "1.1.0"
    assert (board.folder / "a" / SMALL_MODEL.name).exists()
    again.keep(owner.pack(tmp_path / "p", "1.2.0", 103))
    assert again.running.startswith("micro 1.2.0")
    again.updates.stop()
