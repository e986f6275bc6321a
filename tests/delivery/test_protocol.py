"""MQTT 5 first, 3.1.1 where a broker knows no better."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from brokers import HOST, Mosquitto, OldBroker, Subscriber, free_port, wait_for
from emitting import drafts, settings_for

from edge.delivery import Delivery

Deliver = Callable[..., Delivery]

AMQTT = """
import asyncio, sys
from amqtt.broker import Broker

async def main():
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    broker = Broker({"listeners": {"default": {"type": "tcp", "bind": sys.argv[1]}}, "plugins": plugins})
    await broker.start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def old(mosquitto: Mosquitto) -> Iterator[OldBroker]:
    with OldBroker(mosquitto.port) as broker:
        yield broker


def test_mqtt_5_is_spoken_where_it_is_understood(
    mosquitto: Mosquitto, deliver: Deliver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    delivery = deliver(settings_for(mosquitto.port))
    wait_for(lambda: delivery.connected)
    assert "connected (MQTT 5)" in caplog.text


def test_a_connection_closed_without_an_answer_falls_back(old: OldBroker, mosquitto: Mosquitto, deliver: Deliver) -> None:
    with Subscriber(mosquitto.port) as subscriber:
        delivery = deliver(settings_for(old.port))
        delivery.put(drafts(30))
        assert delivery.drain(10) == 0
        subscriber.wait_for_ids(30)
        mosquitto.kill()
        wait_for(lambda: not delivery.connected)
        mosquitto.start()
        delivery.put(drafts(1))
        wait_for(lambda: delivery.counters.waiting == 0 and delivery.connected)
        assert old.levels[:2] == [5, 4]
        assert old.levels[2] == 4, "what worked is remembered"


def test_after_some_failures_of_3_1_1_it_is_5_again(old: OldBroker, mosquitto: Mosquitto, deliver: Deliver) -> None:
    delivery = deliver(settings_for(old.port))
    wait_for(lambda: delivery.connected)
    mosquitto.kill()
    wait_for(lambda: old.levels.count(5) >= 2, because="5 is tried again")
    second = old.levels.index(5, 1)
    assert old.levels[:second] == [5, 4, 4, 4, 4]


def test_3_1_1_that_never_worked_is_not_believed(old: OldBroker, mosquitto: Mosquitto, deliver: Deliver) -> None:
    """A broker that is only starting up hangs up on everybody; it must not leave us with 3.1.1 for its life."""
    mosquitto.kill()
    deliver(settings_for(old.port))
    wait_for(lambda: len(old.levels) >= 6)
    assert old.levels[:6] == [5, 4, 5, 4, 5, 4]


def test_nothing_listening_is_no_reason_to_fall_back(tmp_path: Path, deliver: Deliver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    mosquitto = Mosquitto(tmp_path / "mosquitto", start=False)
    delivery = deliver(settings_for(mosquitto.port))
    wait_for(lambda: caplog.text.count("connection refused") >= 3)
    with mosquitto:
        mosquitto.start()
        wait_for(lambda: delivery.connected)
        assert "connected (MQTT 5)" in caplog.text
        assert "3.1.1" not in caplog.text
        delivery.stop()


def test_amqtt_is_silent_about_5_and_gets_3_1_1(deliver: Deliver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", AMQTT, f"{HOST}:{port}"], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(port), 20, "amqtt answers").close()
        with Subscriber(port, "emotion/#") as subscriber:
            delivery = deliver(settings_for(port))
            delivery.put(drafts(10))
            assert delivery.drain(10) == 0
            subscriber.wait_for_ids(10)
            subscriber.wait_for_payload("/availability", b"online")
            assert "connected (MQTT 3.1.1)" in caplog.text
            delivery.stop()
            subscriber.wait_for_payload("/availability", b"stopped")
    finally:
        process.kill()
        process.wait(10)


def answers(port: int) -> socket.socket | None:
    with contextlib.suppress(OSError):
        return socket.create_connection((HOST, port), timeout=1)
    return None
