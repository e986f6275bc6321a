"""Promises 1 and 2: no event is lost over kills on both sides, and a broker that stays away fills no disk.

What counts is what was committed: an event that was handed over in the instant of our own death may be missing.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

import pytest
from brokers import Mosquitto, Subscriber, wait_for
from emitting import delivering, draft, drafts, settings_for

from edge.clock import rfc3339
from edge.delivery import Counters, Stats

TESTS = Path(__file__).resolve().parents[1]
TRACKS = 3
WINDOW = 20
# An emitter: `number` on its output says that so many have been handed over.
EMITTER = """
import sys, time
from pathlib import Path
from emitting import delivering, draft, settings_for
port, state, hold, pause = int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
with delivering(settings_for(port, hold=hold), state) as delivery:
    for number in range(10**6):
        delivery.put([draft(number, track=number % 3 + 1)])
        while delivery.counters.waiting > 50:
            time.sleep(0.001)
        time.sleep(pause)
        print(number, flush=True)
"""


class Emitter:
    """A process with a real Delivery that puts events until it is killed."""

    def __init__(self, port: int, state: Path, hold: float, pause: float = 0.002) -> None:
        environment = {**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"}
        command = [sys.executable, "-c", EMITTER, str(port), str(state), str(hold), str(pause)]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        self.stamps: list[float] = []

    def until(self, number: int) -> None:
        """Wait until it has handed over so many events in all."""
        assert self.process.stdout is not None
        while len(self.stamps) < number:
            assert self.process.stdout.readline(), "the emitter has ended by itself"
            self.stamps.append(time.monotonic())

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.communicate(timeout=10)


@contextmanager
def emitting(port: int, state: Path, hold: float) -> Iterator[Emitter]:
    emitter = Emitter(port, state, hold)
    try:
        yield emitter
    finally:
        emitter.kill()


def committed(state: Path) -> int:
    """The last seq that was written."""
    with closing(sqlite3.connect(state / "outbox.db")) as db:
        return int(db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()[0])


def busiest(stamps: list[float], seconds: float) -> int:
    """Most events in any interval of so many seconds."""
    return max(index + 1 - bisect_left(stamps, stamp - seconds) for index, stamp in enumerate(stamps))


def seqs(subscriber: Subscriber) -> list[int]:
    """In the order of their first arrival."""
    return [int(name.split("-")[1]) for name in subscriber.ids()]


def in_order_by_track(subscriber: Subscriber) -> bool:
    """Whether the events of each track arrived, for the first time each, as they happened."""
    tracks = defaultdict[str, list[int]](list)
    for event in {event["id"]: event for event in subscriber.events()}.values():
        tracks[event["track"]].append(event["seq"])
    return len(tracks) >= TRACKS and all(found == sorted(found) for found in tracks.values())


def test_nothing_is_lost_over_kills_of_the_broker_and_of_ourselves(tmp_path: Path, full: bool) -> None:
    """10,000 events over 20 + 20 kills: for one that is always on, one that is slow to come back, and one that was away."""
    count, kills, hold = (10_000, 20, 3.0) if full else (400, 2, 3.0)
    share, state, stamps, topic = count // kills, tmp_path / "state", list[float](), "emotion/cam/events"
    with (
        Mosquitto(tmp_path / "mosquitto") as mosquitto,
        Subscriber(mosquitto.port, topic, persistent=True, name="always") as always,
        Subscriber(mosquitto.port, topic, persistent=True, name="away") as away,
    ):
        for _ in range(kills):
            away.stop()
            with emitting(mosquitto.port, state, hold) as emitter:
                emitter.until(share // 2)
                mosquitto.kill()
                mosquitto.start()
                emitter.until(share)
                emitter.kill()
                stamps += emitter.stamps
            away.start()
        last = committed(state)
        with delivering(settings_for(mosquitto.port, hold=hold), state) as delivery:
            assert delivery.drain(120) == 0
            for subscriber in (always, away):
                wait_for(lambda: len(subscriber.messages) >= last, 120)  # noqa: B023  # asked at once
                subscriber.wait_for_ids(last, 60)
    assert last >= count - 60 * kills, "what is handed over is committed within moments"
    assert sorted(seqs(away)) == list(range(1, last + 1))
    assert seqs(always) == list(range(1, last + 1)), "in order"
    assert in_order_by_track(always)
    # What was acknowledged in the hold before a loss comes twice again, and what was in the hold after it once.
    duplicates = len(always.events()) - last
    bound = 2 * kills * (3 * busiest(stamps, hold) + WINDOW)
    print(f"{last} events, {2 * kills} kills: {duplicates} duplicates, at most {bound} promised")
    assert duplicates <= bound


@pytest.mark.parametrize(("hold", "lost"), [(3.0, False), (0.0, True)], ids=["held", "not held: events are lost"])
def test_a_broker_that_forgets_everything_and_a_subscriber_slow_to_come_back(
    tmp_path: Path, full: bool, hold: float, lost: bool
) -> None:
    """Without persistence, what the broker takes before the subscriber is back goes to nobody."""
    kills = 20 if full and not lost else 2
    state, topic = tmp_path / "state", "emotion/cam/events"
    with (
        Mosquitto(tmp_path / "mosquitto", persistence="none") as mosquitto,
        Subscriber(mosquitto.port, topic) as slow,
        emitting(mosquitto.port, state, hold) as emitter,
    ):
        emitter.until(50)
        for i in range(kills):
            mosquitto.kill()
            mosquitto.start()
            # The subscriber tries again after a second; by then these have gone to nobody.
            seen = len(slow.messages)
            emitter.until(len(emitter.stamps) + 200)
            wait_for(lambda seen=seen: len(slow.messages) > seen, 20, f"back after kill {i + 1}")
            end = time.monotonic() + hold + 1.0
            while time.monotonic() < end:
                emitter.until(len(emitter.stamps) + 1)
        emitter.kill()
        with delivering(settings_for(mosquitto.port, hold=hold), state) as delivery:
            assert delivery.drain(30) == 0
            time.sleep(hold + 1.5)
        last = committed(state)
        missing = set(range(1, last + 1)) - set(seqs(slow))
    assert bool(missing) is lost, f"{len(missing)} of {last} events are missing"


@pytest.mark.parametrize(
    ("persistence", "lost"), [("shipped", False), ("default", True)], ids=["our mosquitto.conf", "mosquitto's own: lost"]
)
def test_a_subscriber_away_for_longer_than_hold(
    tmp_path: Path, full: bool, persistence: Literal["shipped", "default"], lost: bool
) -> None:
    kills, count, hold = (20 if full and not lost else 2), 60, 0.3
    with Mosquitto(tmp_path / "mosquitto", persistence=persistence) as mosquitto:
        topic = "emotion/cam/events"
        Subscriber(mosquitto.port, topic, persistent=True).stop()
        mosquitto.stop()  # a clean stop writes the absent subscriber down, whatever the configuration
        mosquitto.start()
        with delivering(settings_for(mosquitto.port, hold=hold), tmp_path / "state") as delivery:
            for _ in range(kills):
                delivery.put(drafts(count))
                assert delivery.drain(20) == 0
                # Beyond the hold and its second sending nobody but the broker has them.
                time.sleep(2 * hold + 1.5)
                mosquitto.kill()
                mosquitto.start()
                wait_for(lambda: delivery.connected)
            with Subscriber(mosquitto.port, topic, persistent=True) as back:
                delivery.put([draft(count)])
                last = kills * count + 1
                wait_for(lambda: seqs(back)[-1:] == [last] or last in seqs(back))
                time.sleep(1.0)
                missing = set(range(1, last + 1)) - set(seqs(back))
    assert bool(missing) is lost, f"{len(missing)} of {last} are missing"


@pytest.mark.parametrize("bounded", [True, False], ids=["bounded", "without the bound: the file grows"])
def test_a_broker_that_is_away_for_a_day(tmp_path: Path, full: bool, bounded: bool) -> None:
    """24 hours of events in one go: the newest are kept, the oldest dropped, and the loss is counted and told."""
    most = 100_000 if full else 1000
    count = most + most // 2
    limits = {"max_events": most} if bounded else {"max_events": 10**7}
    # One that saves at a clean stop alone: here is nothing that it could lose, and a save for each event takes its time.
    mosquitto, state = Mosquitto(tmp_path / "mosquitto", "max_queued_messages 0", persistence="default"), tmp_path / "state"
    # The broker knows its subscriber when it comes back, whoever of the two is first.
    subscriber = Subscriber(mosquitto.port, persistent=True)
    subscriber.stop()
    mosquitto.stop()
    with delivering(settings_for(mosquitto.port, **limits), state) as delivery:
        slowest = 0.0
        for start in range(0, count, 100):
            began = time.perf_counter()
            delivery.put([draft(number, track=number % TRACKS + 1) for number in range(start, start + 100)])
            slowest = max(slowest, time.perf_counter() - began)
            # No faster than the disk takes them, so that the inbox is not what bounds them.
            beat = delivery.beat
            wait_for(lambda beat=beat: delivery.beat > beat, 60)  # type: ignore[misc]
        kept, dropped = (most, count - most) if bounded else (count, 0)
        wait_for(lambda: delivery.counters == Counters(kept, 0, dropped), 120, f"{kept} kept and {dropped} dropped")
        assert slowest < 0.5, "the pipeline waits for nobody"
        assert (delivery.problems == {"storage"}) is bounded
        size = sum(path.stat().st_size for path in state.iterdir())
        assert (size < 1000 * most + 8_000_000) or not bounded, f"{size} bytes"
        if not bounded:
            return
        with mosquitto, subscriber:
            mosquitto.start()
            subscriber.start()
            delivery.stats(Stats(1, rfc3339(0), 1.0, 15.0, None, 10, 0, 0, delivery.counters, None, 1))
            wait_for(lambda: len(subscriber.messages) > kept, 240)
            subscriber.wait_for_ids(kept)
            assert seqs(subscriber)[:kept] == list(range(dropped + 1, count + 1))
            assert delivery.drain(60) == 0
            stats = json.loads(wait_for(lambda: subscriber.payloads("/stats"))[0])
            assert stats["events"]["dropped"] == dropped
            wait_for(lambda: len(subscriber.payloads("/alarms")) == 2)
            alarms = [json.loads(payload) for payload in subscriber.payloads("/alarms")]
            assert [(alarm["problem"], alarm["active"]) for alarm in alarms] == [("storage", True), ("storage", False)]
            assert "oldest events are dropped" in alarms[0]["text"]
            wait_for(lambda: json.loads(subscriber.payloads("/state")[-1])["problems"] == [])
            delivery.stop()
