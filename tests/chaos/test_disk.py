"""Promise 3: a full disk or a damaged outbox stops nothing, blocks nobody, and is told by an alarm."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

import pytest
from brokers import Mosquitto, Subscriber, wait_for
from emitting import delivering, draft, drafts, full_disk, settings_for

from edge.delivery import Delivery
from edge.delivery.salvage import open_outbox
from edge.delivery.store import MEMORY_LIMIT


def alarms(subscriber: Subscriber) -> list[tuple[str, bool]]:
    return [(alarm["problem"], alarm["active"]) for alarm in map(json.loads, subscriber.payloads("/alarms"))]


def problems(subscriber: Subscriber) -> list[str]:
    return list(json.loads(subscriber.payloads("/state")[-1])["problems"])


def slowest_put(delivery: Delivery, count: int) -> float:
    """Hand over so many, a hundred at a time; returns the longest that one took, seconds."""
    slowest = 0.0
    for start in range(0, count, 100):
        began = time.perf_counter()
        delivery.put([draft(number) for number in range(start, start + 100)])
        slowest = max(slowest, time.perf_counter() - began)
    return slowest


def test_a_full_disk_stops_nothing_blocks_nobody_and_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    excess = 500
    with (
        Mosquitto(tmp_path / "mosquitto", persistence="none") as mosquitto,
        Subscriber(mosquitto.port) as subscriber,
        delivering(settings_for(mosquitto.port), tmp_path / "state") as delivery,
    ):
        delivery.put(drafts(5))
        assert delivery.drain(10) == 0
        with full_disk():
            delivery.put([draft()])
            # The alarm gets out while the disk is still full: it needs none.
            wait_for(lambda: alarms(subscriber) == [("storage", True)])
            wait_for(lambda: problems(subscriber) == ["storage"])
            assert delivery.problems == {"storage"}
            assert slowest_put(delivery, MEMORY_LIMIT + excess) < 0.5
            wait_for(lambda: delivery.counters.waiting == MEMORY_LIMIT, because="memory is bounded")
            assert delivery.counters.dropped == excess + 1
            beat = delivery.beat
            wait_for(lambda: delivery.beat > beat, because="the thread turns")
            assert delivery.connected
        wait_for(lambda: len(subscriber.messages) >= 5 + MEMORY_LIMIT, 60)
        subscriber.wait_for_ids(5 + MEMORY_LIMIT)
        assert delivery.drain(10) == 0
        numbers = [int(name.split("-")[1]) for name in subscriber.ids()]
        assert numbers == sorted(numbers)
        wait_for(lambda: alarms(subscriber)[-1] == ("storage", False))
        wait_for(lambda: problems(subscriber) == [])
        assert delivery.counters.dropped == excess + 1
    assert "stumbled" not in caplog.text


def test_without_the_thread_between_a_full_disk_would_reach_the_pipeline(tmp_path: Path) -> None:
    """The negative control: the outbox alone raises, and keeps nothing."""
    outbox = open_outbox(tmp_path, replay=False, max_events=1000, max_bytes=10**7)
    with full_disk(), pytest.raises(sqlite3.Error):
        outbox.add(drafts(50))
    assert outbox.waiting == 0
    outbox.close()


@pytest.mark.parametrize("damage", ["no database", "cut in half", "zeros", "a page of noise"])
def test_a_damaged_outbox_is_set_aside_and_told(tmp_path: Path, damage: str) -> None:
    state = tmp_path / "state"
    outbox = open_outbox(state, replay=False, max_events=10**6, max_bytes=10**8)
    for number in range(10):
        outbox.add([draft(number) for _ in range(20)])
    outbox.close()
    path = state / "outbox.db"
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(
        {
            "no database": b"this was a database once\n" * 400,
            "cut in half": content[:half],
            "zeros": bytes(len(content)),
            "a page of noise": content[:4096] + b"\xa5" * 8192 + content[12288:],
        }[damage]
    )
    with pytest.raises(sqlite3.DatabaseError):  # the negative control: SQLite alone
        _read_all(path)
    with (
        Mosquitto(tmp_path / "mosquitto") as mosquitto,
        Subscriber(mosquitto.port) as subscriber,
        delivering(settings_for(mosquitto.port), state) as delivery,
    ):
        delivery.put(drafts(30))
        assert delivery.drain(10) == 0
        subscriber.wait_for_ids(30)
        wait_for(lambda: alarms(subscriber) == [("storage", True), ("storage", False)])
        wait_for(lambda: problems(subscriber) == [])
        text = json.loads(subscriber.payloads("/alarms")[0])["text"]
        (aside,) = [found for found in state.glob("outbox.db.damaged-*") if not found.name.endswith(("-wal", "-shm"))]
        assert aside.name in text


def _read_all(path: Path) -> None:
    db = sqlite3.connect(path)
    try:
        if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("malformed")
    finally:
        db.close()


def test_an_outbox_damaged_while_it_is_open_is_told_too(tmp_path: Path) -> None:
    mosquitto, state = Mosquitto(tmp_path / "mosquitto"), tmp_path / "state"
    subscriber = Subscriber(mosquitto.port, persistent=True)
    subscriber.stop()
    mosquitto.stop()
    with delivering(settings_for(mosquitto.port), state) as delivery:
        # More than SQLite keeps in its cache, so that it has to look at the file again.
        delivery.put(drafts(9000))
        wait_for(lambda: (state / "outbox.db").stat().st_size + (state / "outbox.db-wal").stat().st_size > 2.5e6, 20)
        time.sleep(0.5)
        for path in state.iterdir():
            with path.open("r+b") as file:
                file.seek(8192)
                file.write(b"\xff" * (path.stat().st_size - 8192))
        with mosquitto, subscriber:
            mosquitto.start()
            subscriber.start()
            wait_for(lambda: alarms(subscriber)[:1] == [("storage", True)], 20)
            delivery.put(drafts(3))
            assert delivery.drain(20) == 0
            wait_for(lambda: alarms(subscriber)[-1] == ("storage", False))
            delivery.stop()
