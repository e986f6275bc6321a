"""Alarms: in order, once, with one id however often they are sent; after a time without a broker too."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from brokers import Mosquitto, Subscriber, wait_for
from emitting import NOBODY, drafts, settings_for

from edge.delivery import Delivery, State
from edge.delivery.alarms import LIMIT, Alarms

Deliver = Callable[..., Delivery]


def texts(subscriber: Subscriber) -> list[str]:
    """Of the alarms, without those that came again."""
    alarms = [json.loads(payload) for payload in subscriber.payloads("/alarms")]
    return list({alarm["id"]: alarm["text"] for alarm in alarms}.values())


def test_alarms_wait_for_the_broker_and_arrive_in_order(tmp_path: Path, deliver: Deliver) -> None:
    mosquitto = Mosquitto(tmp_path / "mosquitto")
    subscriber = Subscriber(mosquitto.port, persistent=True)
    subscriber.stop()
    mosquitto.stop()
    delivery = deliver(settings_for(mosquitto.port, window=3))
    for number in range(50):
        delivery.alarm("camera", number % 2 == 0, f"number {number}")
    with mosquitto, subscriber:
        mosquitto.start()
        subscriber.start()
        wait_for(lambda: len(subscriber.payloads("/alarms")) >= 50)
        assert texts(subscriber) == [f"number {number}" for number in range(50)]
        first = json.loads(subscriber.payloads("/alarms")[0])
        assert (first["v"], first["problem"], first["active"]) == (1, "camera", True)
        delivery.put(drafts(20))
        assert delivery.drain(10) == 0


def test_alarms_that_the_broker_forgot_are_sent_again(tmp_path: Path, deliver: Deliver) -> None:
    with Mosquitto(tmp_path / "mosquitto", persistence="none") as mosquitto:
        delivery = deliver(settings_for(mosquitto.port, hold=2.0))
        delivery.alarm("temperature", True, "hot")
        wait_for(lambda: "emotion/cam/alarms" in mosquitto.log)
        time.sleep(0.3)  # acknowledged, to nobody
        mosquitto.kill()
        with Subscriber(mosquitto.port, start=False) as subscriber:
            subscriber.start(wait=False)
            mosquitto.start()
            delivery.alarm("temperature", False, "cool")
            wait_for(lambda: {"hot", "cool"} <= set(texts(subscriber)))


def test_a_thousand_alarms_are_enough(caplog: pytest.LogCaptureFixture) -> None:
    alarms = Alarms("abc234")
    with caplog.at_level(logging.WARNING):
        for number in range(LIMIT + 10):
            alarms.add("camera", True, str(number))
    kept = [json.loads(payload) for _, payload in alarms.unsent(10**6)]
    assert (len(kept), kept[0]["text"], kept[-1]["text"]) == (LIMIT, "10", str(LIMIT + 9))
    assert len({alarm["id"] for alarm in kept}) == LIMIT
    assert caplog.text.count("oldest are dropped") == 1
    assert Alarms("abc234").unsent(1) == []


def test_held_alarms_are_forgotten_after_the_hold() -> None:
    alarms = Alarms("abc234")
    for number in range(3):
        alarms.add("model", True, str(number))
    alarms.sent(3)
    alarms.acknowledged(1, now=10.0)
    alarms.acknowledged(2, now=20.0)
    assert alarms.waiting
    alarms.purge(before=10.0)
    alarms.again(held=True)
    assert [number for number, _ in alarms.unsent(10)] == [2, 3]
    alarms.again(held=False)
    assert [number for number, _ in alarms.unsent(1)] == [2]


def test_the_state_names_the_problems_of_both(mosquitto: Mosquitto, tmp_path: Path, deliver: Deliver) -> None:
    """The supervisor's and the delivery's own, each once and in one order."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "outbox.db").write_text("no database, but long enough to be looked at\n" * 20)
    with Subscriber(mosquitto.port) as subscriber:
        state = State(1, 0, None, (), "m", "0.1.0", problems=("temperature", "camera"))
        delivery = deliver(settings_for(mosquitto.port), state=state)
        first = wait_for(lambda: subscriber.payloads("/state"))[0]
        assert json.loads(first)["problems"] == ["camera", "storage", "temperature"]
        wait_for(lambda: json.loads(subscriber.payloads("/state")[-1])["problems"] == ["camera", "temperature"])
        assert delivery.problems == frozenset()
        delivery.set_state(NOBODY)
        wait_for(lambda: json.loads(subscriber.payloads("/state")[-1])["problems"] == [])
        alarms = [json.loads(payload) for payload in subscriber.payloads("/alarms")]
        assert [(alarm["problem"], alarm["active"]) for alarm in alarms] == [("storage", True), ("storage", False)]
        assert "set aside as outbox.db.damaged-" in alarms[0]["text"]


def test_forbidden_alarms_stop_no_event(tmp_path: Path, deliver: Deliver, caplog: pytest.LogCaptureFixture) -> None:
    rules = tmp_path / "acl"
    lines = [f"topic write emotion/cam/{name}" for name in ("state", "availability", "events")]
    rules.write_text("\n".join([*lines, "topic read #", ""]))
    with Mosquitto(tmp_path / "mosquitto", f"acl_file {rules}") as mosquitto, Subscriber(mosquitto.port) as subscriber:
        delivery = deliver(settings_for(mosquitto.port))
        for number in range(30):
            delivery.alarm("camera", True, str(number))
        delivery.put(drafts(30))
        assert delivery.drain(10) == 0
        subscriber.wait_for_ids(30)
        wait_for(lambda: "publish on emotion/cam/alarms" in caplog.text)
        assert caplog.text.count("refuses to let us") == 1
        assert "trying again" not in caplog.text
