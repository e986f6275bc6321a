"""Trouble that comes twice, or with a message of somebody else: what was accepted once arrives, and nothing is blocked."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from asking import Asker
from brokers import Mosquitto, Subscriber, wait_for
from emitting import NOBODY, QUICK, delivering, draft, drafts, full_disk, settings_for

from edge.delivery import Delivery
from edge.delivery.store import Store

HOLD = 2.0


def test_a_broker_that_dies_twice_loses_nothing_that_was_held(tmp_path: Path) -> None:
    """An ordinary upgrade: away longer than the hold, back for a moment without subscribers, away again."""
    with (
        Mosquitto(tmp_path / "m", persistence="none") as broker,
        delivering(settings_for(broker.port, hold=HOLD), tmp_path / "s") as delivery,
    ):
        delivery.put(drafts(5))
        assert delivery.drain(10) == 0
        broker.kill()
        wait_for(lambda: not delivery.connected)
        time.sleep(2 * HOLD)
        broker.start()
        wait_for(lambda: delivery.connected and delivery.drain(0.1) == 0, 15)
        broker.kill()
        wait_for(lambda: not delivery.connected)
        broker.start()
        with Subscriber(broker.port, "emotion/cam/events") as subscriber:
            assert len(subscriber.wait_for_ids(5, 20)) == 5


def test_a_restart_of_ours_while_the_broker_is_away_loses_nothing_that_was_held(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "m", persistence="none") as broker:
        settings = settings_for(broker.port, hold=HOLD)
        with delivering(settings, tmp_path / "s") as delivery:
            delivery.put(drafts(5))
            assert delivery.drain(10) == 0
            broker.kill()
            wait_for(lambda: not delivery.connected)
        time.sleep(2 * HOLD)
        broker.start()
        with Subscriber(broker.port, "emotion/cam/events") as subscriber, delivering(settings, tmp_path / "s"):
            assert len(subscriber.wait_for_ids(5, 20)) == 5


def test_a_message_that_our_own_library_cannot_read_does_not_stop_the_events(tmp_path: Path) -> None:
    """MQTT allows U+FEFF, paho takes it for malformed; mosquitto sends the command again with every connection."""
    with (
        Mosquitto(tmp_path / "m") as broker,
        Asker(broker.port, "emotion/cam/availability") as asker,
        Subscriber(broker.port, "emotion/cam/events") as subscriber,
        delivering(settings_for(broker.port), tmp_path / "s") as delivery,
    ):
        asker.wait_for_online()
        asker.ask("status", UserProperty=("x", "\ufeff"))
        wait_for(lambda: not delivery.connected, 10, "the connection breaks")
        delivery.put(drafts(100))
        assert len(subscriber.wait_for_ids(100, 30)) == 100
        assert delivery.drain(10) == 0


@pytest.mark.parametrize("limit", ["max_packet_size 8000", "message_size_limit 8000"])
def test_a_batch_that_the_broker_finds_too_large_becomes_smaller(tmp_path: Path, limit: str) -> None:
    with (
        Mosquitto(tmp_path / "m", limit) as broker,
        Subscriber(broker.port, "emotion/cam/events/batch") as subscriber,
        delivering(settings_for(broker.port, batch=100), tmp_path / "s") as delivery,
    ):
        delivery.put(drafts(200))
        assert delivery.drain(60) == 0
        wait_for(lambda: sum(len(batch["events"]) for batch in subscriber.decoded("/events/batch")) >= 200, 20)


def test_on_a_full_disk_alarms_and_states_still_go_out(tmp_path: Path) -> None:
    """Also when held events are due to be forgotten, which writes too."""
    with (
        Mosquitto(tmp_path / "m", persistence="none") as broker,
        Subscriber(broker.port) as subscriber,
        delivering(settings_for(broker.port, hold=0.5), tmp_path / "s") as delivery,
    ):
        delivery.put(drafts(5))
        assert delivery.drain(10) == 0
        with full_disk():
            delivery.put([draft()])
            wait_for(lambda: subscriber.decoded("/alarms"), 15, "the alarm")
            wait_for(lambda: subscriber.decoded("/state")[-1]["problems"] == ["storage"], 10, "the state")
        wait_for(lambda: not subscriber.decoded("/alarms")[-1]["active"], 15, "the end of the alarm")
        assert len(subscriber.wait_for_ids(6)) == 6


def test_a_start_on_a_full_disk_is_a_start(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "m") as broker, Subscriber(broker.port) as subscriber:
        settings = settings_for(broker.port)
        with delivering(settings, tmp_path / "s") as first:
            first.put(drafts(5))
            assert first.drain(10) == 0
        subscriber.messages.clear()
        with full_disk():
            delivery = Delivery(settings, tmp_path / "s", replay=False, backoff=QUICK)
            delivery.set_state(NOBODY)
            delivery.start()
            delivery.put([draft()])
            try:
                subscriber.wait_for_payload("/availability", b"online", 15)
                wait_for(lambda: subscriber.decoded("/alarms"), 10, "the alarm")
            finally:
                delivery.stop()


def test_what_memory_has_lost_is_counted_once(tmp_path: Path) -> None:
    store = Store(settings_for(1).delivery, tmp_path, False)
    with full_disk():
        for _ in range(2):
            store.put(drafts(5250))
            for _ in range(2):
                try:
                    store.write()
                except Exception as error:  # noqa: BLE001  what SQLite says on a full disk
                    store.watch(error, False)  # type: ignore[arg-type]
    assert store.waiting + store.dropped == 10_500
    store.close()
