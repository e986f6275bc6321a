"""What MQTT 5 says beside the payload, and events by the batch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import Asker
from brokers import Mosquitto, OldBroker, Subscriber, wait_for
from emitting import draft, drafts, settings_for

from edge.clock import rfc3339
from edge.delivery import Delivery, Stats

Deliver = Callable[..., Delivery]


def tell_everything(delivery: Delivery) -> None:
    delivery.put(drafts(1))
    delivery.alarm("camera", True, "gone")
    delivery.stats(Stats(1, rfc3339(0), 1.0, 15.0, None, 10, 0, 0, delivery.counters, None, 1))


def test_every_payload_says_what_it_is(mosquitto: Mosquitto, deliver: Deliver) -> None:
    with Asker(mosquitto.port) as asker:
        tell_everything(deliver(settings_for(mosquitto.port, expiry=3600, stats_interval=30.0)))
        said: dict[str, Any] = {}
        for name in ("events", "alarms", "state", "stats"):
            wait_for(lambda end=f"/{name}": asker.on(end))  # type: ignore[misc]
            properties = asker.on(f"/{name}")[0].properties
            assert properties.ContentType == "application/json"
            said[name] = properties.UserProperty, getattr(properties, "MessageExpiryInterval", None)
        assert said["alarms"] == ([("schema", "alarm/1")], None)
        assert said["state"] == ([("schema", "state/1")], None)
        for name, expiry in (("events", 3600), ("stats", 60)):
            schema, left = said[name]
            assert schema == [("schema", f"{name.removesuffix('s') if name == 'events' else name}/1")]
            assert expiry - 5 <= left <= expiry, "what is left of it when it arrives"


def test_an_expired_event_is_not_handed_on(tmp_path: Path, deliver: Deliver) -> None:
    """The broker drops it for a subscriber that comes too late; without an expiry it does not."""
    for expiry, expected in ((1, 0), (0, 5)):
        with Mosquitto(tmp_path / f"mosquitto-{expiry}") as mosquitto:
            topic = "emotion/cam/events"
            Subscriber(mosquitto.port, topic, persistent=True).stop()
            delivery = deliver(settings_for(mosquitto.port, expiry=expiry), state_dir=tmp_path / str(expiry))
            delivery.put(drafts(5))
            assert delivery.drain(10) == 0
            time.sleep(2.5)
            with Subscriber(mosquitto.port, topic, persistent=True) as back, Asker(mosquitto.port, "x") as asker:
                asker.publish(topic, b'{"id": "mark-1"}')
                wait_for(lambda back=back: "mark-1" in back.ids())
                assert len(back.ids()) - 1 == expected


@pytest.mark.parametrize("five", [True, False], ids=["5", "3.1.1"])
def test_a_backlog_goes_by_the_batch_in_order(mosquitto: Mosquitto, tmp_path: Path, deliver: Deliver, five: bool) -> None:
    with OldBroker(mosquitto.port) as old, Asker(mosquitto.port, "emotion/cam/#") as asker:
        settings = settings_for(mosquitto.port if five else old.port, batch=25, window=2)
        delivery = deliver(settings)
        delivery.put(drafts(110))
        assert delivery.drain(10) == 0
        delivery.put([draft(110)])
        assert delivery.drain(10) == 0
        wait_for(lambda: sum(len(batch["events"]) for batch in asker.json("/events/batch")) == 111)
        batches = asker.json("/events/batch")
        assert [event["seq"] for batch in batches for event in batch["events"]] == list(range(1, 112))
        assert {batch["v"] for batch in batches} == {1}
        assert len(batches[0]["events"]) == 25
        assert len(batches[-1]["events"]) == 1
        assert not asker.on("cam/events")
        if five:
            assert asker.on("/events/batch")[0].properties.UserProperty == [("schema", "batch/1")]


def test_a_batch_that_the_broker_lost_comes_again(tmp_path: Path, deliver: Deliver) -> None:
    with Mosquitto(tmp_path / "mosquitto", persistence="none") as mosquitto:
        delivery = deliver(settings_for(mosquitto.port, batch=10, hold=2.0))
        delivery.put(drafts(30))
        assert delivery.drain(10) == 0, "acknowledged, to nobody"
        mosquitto.kill()
        mosquitto.start()
        with Subscriber(mosquitto.port) as subscriber:
            wait_for(lambda: _seqs(subscriber) == set(range(1, 31)))
            assert delivery.counters.published == 30


def _seqs(subscriber: Subscriber) -> set[int]:
    return {event["seq"] for payload in subscriber.payloads("/batch") for event in json.loads(payload)["events"]}
