"""What the outbox keeps, and for how long."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from emitting import draft, drafts

from edge.delivery.outbox import Outbox
from edge.delivery.salvage import GAP, open_outbox
from edge.errors import DeliveryError, OutboxError


def opened(folder: Path, **options: Any) -> Outbox:
    return open_outbox(folder, **{"replay": False, "max_events": 1000, "max_bytes": 10**7, "now": 0.0, "boot": "b1", **options})


def seqs(outbox: Outbox) -> list[int]:
    return [seq for seq, _ in outbox.unsent(10_000)]


def test_seq_goes_on_over_restarts_and_purges(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    events = outbox.add(drafts(3))
    assert [event.seq for event in events] == [1, 2, 3]
    assert events[2].id == f"{outbox.installation}-000003"
    outbox.acknowledged([1, 2, 3], now=1.0)
    assert outbox.purge(before=1.0) == 3
    outbox.close()
    again = opened(tmp_path)
    assert again.add([draft()])[0].id == f"{outbox.installation}-000004"
    again.close()


def test_track_names_are_never_used_twice(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    first = [event.track for event in outbox.add([draft(track=1), draft(track=5), draft(track=2)])]
    assert first == [outbox.track_name(number) for number in (1, 5, 2)]
    outbox.close()
    again = opened(tmp_path)
    assert again.add([draft(track=1)])[0].track == f"{again.installation}-6"
    again.close()


def test_a_replay_has_an_outbox_of_its_own(tmp_path: Path) -> None:
    live, replay = opened(tmp_path), opened(tmp_path, replay=True)
    assert replay.add([draft()])[0].id == "replay-000001"
    assert replay.client != live.client
    assert len(live.installation) >= 4
    assert live.installation != "replay"
    live.close()
    replay.close()


def test_nobody_else_reads_the_outbox(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "state")
    outbox.add(drafts(3))
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    files = list((tmp_path / "state").iterdir())
    assert len(files) > 1, "the database and its log"
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    outbox.close()


def test_a_second_process_is_refused_with_a_sentence(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    with pytest.raises(OutboxError, match=r"in use by another edge-run; stop it"):
        opened(tmp_path)
    outbox.close()
    opened(tmp_path).close()


def test_a_folder_that_cannot_be_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutboxError, match=r"cannot be opened .*state_dir"):
        opened(tmp_path / "file" / "state")


def test_an_outbox_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with sqlite3.connect(tmp_path / "outbox.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(DeliveryError, match="newer emotion-edge"):
        opened(tmp_path)


def test_held_events_are_replayed_in_order_until_they_are_purged(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.add(drafts(4))
    assert outbox.acknowledged([1, 2], now=10.0) == 2
    assert outbox.acknowledged([2, 99], now=11.0) == 0
    assert (outbox.waiting, seqs(outbox)) == (2, [3, 4])
    assert outbox.purge(before=9.9) == 0
    assert outbox.replay_held() == 2
    assert (outbox.waiting, seqs(outbox)) == (4, [1, 2, 3, 4])
    # The hold counts from the first acknowledgement: a connection that comes and goes does not hold events for ever.
    assert outbox.acknowledged([1, 2], now=50.0) == 0
    assert outbox.purge(before=10.0) == 2
    assert outbox.replay_held() == 0
    outbox.close()


def test_the_hold_goes_on_over_a_restart_of_ours(tmp_path: Path) -> None:
    outbox = opened(tmp_path, now=0.0)
    outbox.add(drafts(2))
    outbox.acknowledged([1], now=10.0)
    outbox.close()
    again = opened(tmp_path, now=40.0)
    assert again.purge(before=9.0) == 0
    assert again.purge(before=10.0) == 1
    again.close()


@pytest.mark.parametrize("now", [3.0, 10.0, 100_000.0])
def test_after_a_reboot_what_was_held_is_held_anew(tmp_path: Path, now: float) -> None:
    """The clock since boot has begun again: lower than before, the same by chance, or far higher."""
    outbox = opened(tmp_path, boot="b1")
    outbox.add(drafts(1))
    outbox.acknowledged([1], now=10.0)
    outbox.close()
    again = opened(tmp_path, boot="b2", now=now)
    hold = 60.0
    assert again.purge(before=now + 59.0 - hold) == 0, "not before a whole hold has passed"
    assert again.purge(before=now + hold - hold) == 1, "but then"
    again.close()


def test_bounds_drop_the_oldest_and_count_them_for_good(tmp_path: Path) -> None:
    outbox = opened(tmp_path, max_events=10)
    outbox.add(drafts(10))
    outbox.acknowledged([1, 2], now=1.0)
    outbox.add(drafts(5))
    assert seqs(outbox) == list(range(6, 16))
    assert (outbox.dropped, outbox.waiting) == (3, 10), "what the broker has is not lost when it goes"
    outbox.close()
    again = opened(tmp_path, max_events=10)
    assert (again.dropped, again.waiting) == (3, 10)
    again.add(drafts(25))
    assert seqs(again) == list(range(31, 41))
    assert again.dropped == 28
    again.close()


def test_bytes_are_bounded_too(tmp_path: Path) -> None:
    outbox = opened(tmp_path, max_bytes=4096)
    for _ in range(10):
        outbox.add(drafts(5))
    kept = outbox.unsent(1000)
    assert sum(len(payload) for _, payload in kept) <= 4096
    assert kept[-1][0] == 50
    assert outbox.dropped == 50 - len(kept)
    outbox.close()


@pytest.mark.parametrize("damage", ["text", "page", "empty header"])
def test_a_damaged_outbox_is_set_aside_and_a_fresh_one_begins(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = opened(tmp_path)
    for i in range(200):
        outbox.add([draft(i, track=i + 1)])
    name = outbox.installation
    outbox.close()
    path = tmp_path / "outbox.db"
    content = bytearray(path.read_bytes())
    match damage:
        case "text":
            content = bytearray(b"this was a database once\n" * 100)
        case "page":
            content[-8192:] = b"\xff" * 8192
        case "empty header":
            content[:16] = bytes(16)
    path.write_bytes(content)
    fresh = opened(tmp_path)
    event = fresh.add([draft()])[0]
    assert fresh.waiting == 1
    assert "set aside" in caplog.text
    assert len(list(tmp_path.glob("outbox.db.damaged-*"))) == 1
    if damage == "page":
        assert fresh.installation == name, "it could still be read"
        assert event.seq == 200 + GAP + 1, "numbers that may have been given are never given again"
        assert event.track == f"{name}-{200 + GAP + 1}"
    else:
        assert fresh.installation != name, "without the last seq the old name would give ids a second time"
    fresh.close()


def test_damaged_files_do_not_fill_the_disk(tmp_path: Path) -> None:
    for _ in range(5):
        (tmp_path / "outbox.db").write_text("no database at all, but long enough to be looked at" * 20)
        opened(tmp_path).close()
    assert len([path for path in tmp_path.glob("outbox.db.damaged-*") if not path.name.endswith(("-wal", "-shm"))]) == 2
