"""Promises of the delivery, each against a real mosquitto."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from brokers import HOST, Mosquitto, Subscriber, free_port, wait_for
from emitting import NOBODY, QUICK, draft, drafts, full_disk, settings_for

from edge.clock import rfc3339
from edge.delivery import Counters, Delivery, Stats
from edge.errors import DeliveryError

Deliver = Callable[..., Delivery]


def in_order(subscriber: Subscriber, count: int) -> None:
    """Without duplicates: every event from the first to the last, in order."""
    seqs = [int(name.split("-")[1]) for name in subscriber.wait_for_ids(count)]
    assert seqs == list(range(1, count + 1))


def test_events_arrive_in_order_once_and_acknowledged(mosquitto: Mosquitto, deliver: Deliver) -> None:
    with Subscriber(mosquitto.port, "emotion/cam/events") as subscriber:
        delivery = deliver(settings_for(mosquitto.port))
        delivery.put(drafts(300))
        assert delivery.drain(10) == 0
        in_order(subscriber, 300)
        assert len(subscriber.events()) == 300
        assert [event["at"] for event in subscriber.events()] == [rfc3339(number) for number in range(300)]
        assert delivery.counters == Counters(waiting=0, published=300, dropped=0)


def test_broker_started_later_gets_everything(tmp_path: Path, deliver: Deliver, caplog: pytest.LogCaptureFixture) -> None:
    with Mosquitto(tmp_path / "mosquitto") as mosquitto:
        # Known to the broker, so that it does not matter which of the two finds it first.
        subscriber = Subscriber(mosquitto.port, "emotion/cam/events", persistent=True)
        subscriber.stop()
        mosquitto.stop()
        delivery = deliver(settings_for(mosquitto.port))
        delivery.put(drafts(50))
        assert delivery.drain(0.5) == 50
        assert not delivery.connected
        mosquitto.start()
        with subscriber:
            subscriber.start()
            delivery.put([draft(50, track=2)])
            assert delivery.drain(10) == 0
            in_order(subscriber, 51)
    assert "connection refused" in caplog.text


def test_availability_tells_the_truth(mosquitto: Mosquitto, deliver: Deliver) -> None:
    with Subscriber(mosquitto.port) as subscriber:
        delivery = deliver(settings_for(mosquitto.port), state=None)
        wait_for(lambda: delivery.connected)
        time.sleep(0.3)
        assert subscriber.messages == [], "not online before there is a state"
        delivery.set_state(NOBODY)
        subscriber.wait_for_payload("/availability", b"online")
        assert [topic for topic, _ in subscriber.messages] == ["emotion/cam/state", "emotion/cam/availability"]
        began = time.monotonic()
        assert delivery.stop() == 0
        assert time.monotonic() - began < 2
        subscriber.wait_for_payload("/availability", b"stopped")
    with Subscriber(mosquitto.port, name="latecomer") as latecomer:
        wait_for(lambda: len(latecomer.messages) == 2)
        assert latecomer.payloads("/availability") == [b"stopped"], "retained"
        assert len(latecomer.payloads("/state")) == 1, "retained"


def test_state_is_published_on_change_only_and_stats_are_not_kept(mosquitto: Mosquitto, deliver: Deliver) -> None:
    with Subscriber(mosquitto.port) as subscriber:
        delivery = deliver(settings_for(mosquitto.port))
        for _ in range(5):
            delivery.set_state(NOBODY)
            time.sleep(0.02)
        subscriber.wait_for_payload("/availability", b"online")
        delivery.stats(Stats(1, rfc3339(0), 1.0, 15.0, None, 10, 0, 0, delivery.counters, None, 1))
        wait_for(lambda: subscriber.payloads("/stats"))
        assert len(subscriber.payloads("/state")) == 1
    with Subscriber(mosquitto.port, name="latecomer") as latecomer:
        wait_for(lambda: latecomer.payloads("/state"))
        time.sleep(0.2)
        assert latecomer.payloads("/stats") == []


def test_everything_put_before_stop_is_there_after_a_restart(mosquitto: Mosquitto, tmp_path: Path, deliver: Deliver) -> None:
    away = deliver(settings_for(free_port()))
    away.put(drafts(200))
    assert away.stop() == 200
    with Subscriber(mosquitto.port) as subscriber:
        delivery = deliver(settings_for(mosquitto.port))
        delivery.put(drafts(1))
        assert delivery.drain(10) == 0
        in_order(subscriber, 201)


def test_a_clean_restart_repeats_nothing(mosquitto: Mosquitto, deliver: Deliver) -> None:
    with Subscriber(mosquitto.port) as subscriber:
        for _ in range(2):
            delivery = deliver(settings_for(mosquitto.port))
            subscriber.wait_for_payload("/availability", b"online")
            delivery.put(drafts(10))
            assert delivery.drain(10) == 0
            delivery.stop()
        in_order(subscriber, 20)
        assert len(subscriber.events()) == 20


def test_broker_killed_in_the_middle_loses_nothing(mosquitto: Mosquitto, deliver: Deliver) -> None:
    with Subscriber(mosquitto.port, persistent=True) as subscriber:
        delivery = deliver(settings_for(mosquitto.port))
        for i in range(3):
            for number in range(40):
                delivery.put([draft(number)])
                if number == 20:
                    mosquitto.kill()
            wait_for(lambda: not delivery.connected)
            mosquitto.start()
            subscriber.wait_for_ids(40 * (i + 1))
        assert delivery.drain(10) == 0
        in_order(subscriber, 120)


@pytest.mark.parametrize("persistence", ["none", "default"])
def test_what_the_broker_acknowledged_and_forgot_is_sent_again(tmp_path: Path, deliver: Deliver, persistence: str) -> None:
    """`none` forgets us too; `default` comes back with an old copy of our session, and claims to know us."""
    with Mosquitto(tmp_path / "mosquitto", persistence=persistence) as mosquitto:  # type: ignore[arg-type]
        subscriber = Subscriber(mosquitto.port, "emotion/cam/events", persistent=True)
        delivery = deliver(settings_for(mosquitto.port))
        wait_for(lambda: delivery.connected)
        subscriber.stop()
        mosquitto.stop()  # a clean stop writes the sessions to disk, where they are to be kept
        mosquitto.start()
        wait_for(lambda: delivery.connected)
        delivery.put(drafts(30))
        assert delivery.drain(10) == 0, "the broker has acknowledged them for the absent subscriber"
        mosquitto.kill()
        mosquitto.start()
        back = Subscriber(mosquitto.port, "emotion/cam/events", persistent=True, start=False)
        with back:
            back.start()
            in_order(back, 30)


def test_subscribers_slow_to_come_back_get_the_second_sending(tmp_path: Path, deliver: Deliver) -> None:
    with Mosquitto(tmp_path / "mosquitto", persistence="none") as mosquitto:
        delivery = deliver(settings_for(mosquitto.port, hold=3.0))
        delivery.put(drafts(5))
        assert delivery.drain(10) == 0
        mosquitto.kill()
        mosquitto.start()
        wait_for(lambda: delivery.connected)
        delivery.put(drafts(5))
        assert delivery.drain(10) == 0, "everything has been sent again and acknowledged, to nobody"
        with Subscriber(mosquitto.port) as subscriber:
            in_order(subscriber, 10)
            time.sleep(3.5)
            assert len(subscriber.events()) == 10, "and no third time"


def test_what_was_held_when_the_broker_went_is_sent_again_however_long_it_was_away(tmp_path: Path, deliver: Deliver) -> None:
    with Mosquitto(tmp_path / "mosquitto", persistence="none") as mosquitto:
        topic = "emotion/cam/events"
        delivery = deliver(settings_for(mosquitto.port, hold=1.0))
        delivery.put(drafts(5))
        assert delivery.drain(10) == 0
        mosquitto.kill()
        wait_for(lambda: not delivery.connected)
        time.sleep(3.0)
        mosquitto.start()
        with Subscriber(mosquitto.port, topic) as subscriber:
            in_order(subscriber, 5)


def test_hold_is_over_after_hold(tmp_path: Path, deliver: Deliver) -> None:
    with Mosquitto(tmp_path / "mosquitto", persistence="none") as mosquitto:
        delivery = deliver(settings_for(mosquitto.port, hold=0.2))
        delivery.put(drafts(5))
        assert delivery.drain(10) == 0
        time.sleep(1.5)
        mosquitto.kill()
        mosquitto.start()
        with Subscriber(mosquitto.port) as subscriber:
            delivery.put(drafts(1))
            subscriber.wait_for_ids(1)
            time.sleep(1.0)
            assert [event["seq"] for event in subscriber.events()] in ([6], [6, 6])


CHILD = """
import sys
from pathlib import Path
from emitting import NOBODY, QUICK, draft, settings_for
from edge.delivery import Delivery
delivery = Delivery(settings_for(int(sys.argv[1])), Path(sys.argv[2]), replay=False, backoff=QUICK)
delivery.set_state(NOBODY)
delivery.start()
for number in range(10**6):
    delivery.put([draft(number)])
    while delivery.counters.waiting > 50:
        pass
    print(number, flush=True)
"""


def child(port: int, state: Path) -> subprocess.Popen[str]:
    """A process that puts events until it is killed."""
    tests = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"}
    command = [sys.executable, "-c", CHILD, str(port), str(state)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def committed(state: Path) -> int:
    """The last seq that was written."""
    with sqlite3.connect(state / "outbox.db") as db:
        seq = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()[0]
    db.close()
    return int(seq)


def test_ourselves_killed_loses_nothing_that_was_committed(mosquitto: Mosquitto, tmp_path: Path, deliver: Deliver) -> None:
    state, last = tmp_path / "killed", 0
    with Subscriber(mosquitto.port, persistent=True) as subscriber:
        for _ in range(3):
            process = child(mosquitto.port, state)
            assert process.stdout is not None
            with process.stdout as lines:
                for line in lines:
                    if int(line) >= 100:
                        break
                process.send_signal(signal.SIGKILL)
                process.wait(10)
            subscriber.wait_for_payload("/availability", b"offline")
            last, before = committed(state), last
            assert last > before
        delivery = deliver(settings_for(mosquitto.port), state_dir=state)
        delivery.put([draft()])
        assert delivery.drain(10) == 0
        in_order(subscriber, last + 1)


def test_chaos_of_a_few_kills_on_both_sides(mosquitto: Mosquitto, tmp_path: Path, deliver: Deliver) -> None:
    state = tmp_path / "killed"
    with Subscriber(mosquitto.port, persistent=True) as subscriber:
        for i in range(4):
            process = child(mosquitto.port, state)
            assert process.stdout is not None
            with process.stdout as lines:
                wanted = 60 + 17 * i
                for line in lines:
                    if int(line) == wanted // 2:
                        mosquitto.kill()
                        mosquitto.start()
                    if int(line) >= wanted:
                        break
                process.kill()
                process.wait(10)
        last = committed(state)
        delivery = deliver(settings_for(mosquitto.port), state_dir=state)
        assert delivery.drain(10) == 0
        in_order(subscriber, last)
        assert len(subscriber.events()) <= 8 * last, "duplicates are bounded by the number of kills"


def test_wrong_password_is_refused_and_a_corrected_one_is_taken(
    tmp_path: Path, deliver: Deliver, caplog: pytest.LogCaptureFixture
) -> None:
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    with Mosquitto(tmp_path / "mosquitto", users={"cam": "right", "reader": "r"}) as mosquitto:
        mqtt = {"username": "cam", "password_file": str(secret)}
        delivery = deliver(settings_for(mosquitto.port, mqtt=mqtt))
        delivery.put(drafts(5))
        wait_for(lambda: caplog.text.count("refused: ") >= 2)
        assert not delivery.connected
        assert "connected" not in caplog.text
        assert "wrong" not in caplog.text
        with Subscriber(mosquitto.port, username="reader", password="r") as subscriber:
            secret.write_text("right\n")
            assert delivery.drain(10) == 0
            in_order(subscriber, 5)


def test_a_topic_that_the_broker_forbids_is_refused_and_keeps_its_events(
    tmp_path: Path, deliver: Deliver, caplog: pytest.LogCaptureFixture
) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic write emotion/cam/state\ntopic write emotion/cam/availability\ntopic read #\n")
    with Mosquitto(tmp_path / "mosquitto", f"acl_file {rules}") as mosquitto:
        delivery = deliver(settings_for(mosquitto.port))
        delivery.put(drafts(3))
        refusals = "refused: Not authorized to publish on emotion/cam/events"
        wait_for(lambda: caplog.text.count(refusals) >= 3)
        assert delivery.counters == Counters(waiting=3)
        pauses = [float(pause) for pause in re.findall(r"trying again in ([\d.]+) s", caplog.text)]
        assert pauses[2] > QUICK.first, "being accepted and then refused is no reason to hurry"


def test_a_black_hole_keeps_nobody_from_storing_or_stopping(tmp_path: Path, deliver: Deliver) -> None:
    with contextlib.ExitStack() as stack:
        hole = stack.enter_context(socket.socket())
        hole.bind((HOST, 0))
        hole.listen(0)
        for _ in range(3):
            # A full backlog: the kernel answers no further connection.
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
        delivery = deliver(settings_for(hole.getsockname()[1]))
        delivery.put(drafts(10))
        time.sleep(0.3)
        began = time.monotonic()
        assert delivery.stop() == 10
        assert time.monotonic() - began < 0.5
        assert committed(tmp_path / "state") == 10


def test_a_full_disk_stops_nothing_and_loses_nothing(
    mosquitto: Mosquitto, deliver: Deliver, caplog: pytest.LogCaptureFixture
) -> None:
    with Subscriber(mosquitto.port) as subscriber:
        delivery = deliver(settings_for(mosquitto.port))
        delivery.put(drafts(5))
        assert delivery.drain(10) == 0
        with full_disk():
            delivery.put(drafts(5))
            wait_for(lambda: "cannot be stored" in caplog.text)
            delivery.put(drafts(5))
            assert delivery.drain(1.5) == 10
            assert delivery.connected
        assert delivery.drain(10) == 0
        in_order(subscriber, 15)
        assert caplog.text.count("cannot be stored") == 1
        assert caplog.text.count("are stored again") == 1


def test_a_file_damaged_while_it_is_open_is_replaced(tmp_path: Path, deliver: Deliver, caplog: pytest.LogCaptureFixture) -> None:
    mosquitto = Mosquitto(tmp_path / "mosquitto", start=False)
    delivery = deliver(settings_for(mosquitto.port))
    # More than SQLite keeps in its cache, so that it has to look at the file again.
    delivery.put(drafts(12_000))
    wait_for(lambda: committed_size(tmp_path / "state") > 3e6)
    time.sleep(0.5)
    for path in (tmp_path / "state").iterdir():
        with path.open("r+b") as file:
            file.seek(8192)
            file.write(b"\xff" * (path.stat().st_size - 8192))
    with mosquitto, Subscriber(mosquitto.port, start=False) as subscriber:
        mosquitto.start()
        subscriber.start()
        wait_for(lambda: "set aside" in caplog.text)
        delivery.put(drafts(3))
        wait_for(lambda: subscriber.events() and subscriber.events()[-1]["at"] == rfc3339(2))
        assert delivery.drain(10) == 0


def committed_size(state: Path) -> int:
    """Bytes on disk."""
    return sum(path.stat().st_size for path in state.iterdir())


def test_a_full_outbox_drops_the_oldest_and_says_so_once(
    tmp_path: Path, deliver: Deliver, caplog: pytest.LogCaptureFixture
) -> None:
    mosquitto = Mosquitto(tmp_path / "mosquitto", start=False)
    delivery = deliver(settings_for(mosquitto.port, max_events=20))
    for number in range(50):
        delivery.put([draft(number)])
    wait_for(lambda: delivery.counters == Counters(waiting=20, dropped=30))
    wait_for(lambda: "is full" in caplog.text)
    with mosquitto:
        mosquitto.start()
        with Subscriber(mosquitto.port) as subscriber:
            subscriber.wait_for_ids(20)
            assert [event["seq"] for event in subscriber.events()][:20] == list(range(31, 51))
    assert caplog.text.count("is full") == 1


def test_two_at_one_state_folder_and_missing_files_are_refused_at_once(tmp_path: Path, deliver: Deliver) -> None:
    deliver(settings_for(free_port()))
    with pytest.raises(DeliveryError, match="in use"):
        Delivery(settings_for(free_port()), tmp_path / "state", replay=False)
    with pytest.raises(DeliveryError, match=r"password cannot be read \(No such file"):
        Delivery(
            settings_for(1, mqtt={"username": "u", "password_file": str(tmp_path / "none")}), tmp_path / "other", replay=False
        )


def test_stop_without_start_stores_and_can_be_called_twice(tmp_path: Path) -> None:
    delivery = Delivery(settings_for(free_port()), tmp_path / "state", replay=True)
    delivery.put(drafts(3))
    assert delivery.stop() == 3
    assert delivery.stop() == 3
    assert not (tmp_path / "state" / "outbox.db").exists()
    assert (tmp_path / "state" / "replay.db").exists()
