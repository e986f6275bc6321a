"""The wire format: the exported files, the documentation and what really leaves the device agree."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from brokers import Mosquitto, Subscriber, wait_for
from emitting import settings_for

from edge.clock import rfc3339
from edge.delivery import Announcer, Command, Delivery, Latency, Stats
from edge.delivery.commands import ARGUMENTS
from edge.delivery.schema import files
from edge.types import Emotion, Face, Frame, TrackedFace
from edge.update.package import BRANCH, OFFER, PIECE, STATUS

ROOT = Path(__file__).resolve().parents[2]


def validate(name: str, payload: Any) -> None:
    schema = json.loads((ROOT / "edge" / "delivery" / f"{name}.schema.json").read_text())
    jsonschema.validators.validator_for(schema)(schema).validate(payload)


@pytest.mark.parametrize("path", files())
def test_committed_files_are_what_the_structs_say(path: str) -> None:
    assert (ROOT / path).read_bytes() == files()[path], "python -m edge.delivery.schema writes them anew"


def test_every_example_of_the_documentation_is_valid() -> None:
    page = (ROOT / "docs" / "mqtt.md").read_text()
    examples = re.findall(r"```json (\w+)\n(.*?)```", page, re.DOTALL)
    assert {name for name, _ in examples} == {"event", "batch", "alarm", "state", "stats", "reply"}
    for name, text in examples:
        validate(name, json.loads(text))


def test_the_asyncapi_page_names_what_it_refers_to() -> None:
    document = json.loads((ROOT / "docs" / "asyncapi.json").read_text())
    references = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))
    assert len(references) > 8
    for reference in references:
        node = document
        for key in reference.split("/"):
            node = node[key]


def test_the_asyncapi_page_has_every_topic_of_the_documentation_and_every_word_that_a_level_may_be() -> None:
    document = json.loads((ROOT / "docs" / "asyncapi.json").read_text())
    told = re.findall(r"^\| `([a-z/<>]+)` \|.*\| [01] \| (?:yes|no) \|", (ROOT / "docs" / "mqtt.md").read_text(), re.MULTILINE)
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert {re.sub("<.*>", "*", topic) for topic in told} == {
        re.sub("{.*}", "*", address.removeprefix("{prefix}/{device}/")) for address in addresses
    }
    words = {
        name: parameter["enum"]
        for channel in document["channels"].values()
        for name, parameter in channel["parameters"].items()
        if "enum" in parameter
    }
    assert words == {"verb": list(ARGUMENTS), "subject": [*ARGUMENTS, BRANCH], "step": [OFFER, PIECE, STATUS]}


def test_what_leaves_the_device_is_valid(mosquitto: Mosquitto, deliver: Callable[..., Delivery]) -> None:
    labels = ("angry", "happy", "neutral")
    rng = np.random.default_rng(0)
    with Subscriber(mosquitto.port) as subscriber:
        delivery = deliver(settings_for(mosquitto.port), state=None)
        announcer = Announcer(labels, "micro 1.0.0 ab12cd34", 0.5, delivery.track_name)
        for i in range(50):
            scores = rng.dirichlet(np.ones(3)).astype(np.float32)
            label = labels[int(scores.argmax())] if scores.max() > 0.5 else "uncertain"
            # A face that leaves the picture on the left.
            face = TrackedFace(i // 20 + 1, Face(x=300.0 - 10 * i, y=200.0, side=90.0), seen=True)
            frame = Frame(np.zeros((480, 640, 3), np.uint8), i, i / 10, 1795247225.4804 + i / 10)
            ended = [i // 20] if i % 20 == 0 else []
            delivery.put(announcer.observe(frame, [(face, Emotion(label, float(scores.max()), scores, frame.at))], ended))
            delivery.set_state(announcer.state())
        delivery.put(announcer.end_all())
        delivery.set_state(announcer.state())
        delivery.stats(Stats(1, rfc3339(0), 1.5, 14.9, Latency(1.0, 2.0, 3.0), 50, 0, 0, delivery.counters, 45.5, 10**7))
        assert delivery.drain(10) == 0
        wait_for(lambda: subscriber.payloads("/stats"))
        wait_for(lambda: json.loads(subscriber.payloads("/state")[-1])["faces"] == 0)
        events = subscriber.events()
        for name, payloads in (("event", subscriber.payloads("/events")), ("state", subscriber.payloads("/state"))):
            for payload in payloads:
                validate(name, json.loads(payload))
        validate("stats", json.loads(subscriber.payloads("/stats")[0]))
        delivery.alarm("camera", True, "the camera is gone")
        validate("alarm", json.loads(wait_for(lambda: subscriber.payloads("/alarms"))[0]))
        delivery.reply(Command("status", "status", "emotion/cam/reply/status"), {"fps": 15.0})
        validate("reply", json.loads(wait_for(lambda: subscriber.payloads("/reply/status"))[0]))
        validate("batch", {"v": 1, "events": events})
        assert [event["type"] for event in events].count("end") == 3
        assert {event["track"] for event in events} == {delivery.track_name(number) for number in (1, 2, 3)}
        assert events[0]["at"] == "2026-11-21T07:47:05.480Z"
        assert all(str(score)[::-1].find(".") <= 4 for event in events for score in event["scores"].values())


def test_an_invalid_event_is_noticed() -> None:
    page = (ROOT / "docs" / "mqtt.md").read_text()
    event = json.loads(re.findall(r"```json event\n(.*?)```", page, re.DOTALL)[0])
    for key, value in {"type": "gone", "confidence": 1.2, "at": "yesterday", "box": [0, 0, 1], "track": "7", "v": 2}.items():
        with pytest.raises(jsonschema.ValidationError):
            validate("event", {**event, key: value})
    for key in event:
        with pytest.raises(jsonschema.ValidationError):
            validate("event", {name: value for name, value in event.items() if name != key})
