"""Home Assistant finds the device: the description keeps Home Assistant's rules, and every template reads what is really sent.

The rules are those of https://www.home-assistant.io/integrations/mqtt/ ("Device discovery payload", "Discovery topic"), of
the pages of the sensor, binary sensor and switch there, and of what its code holds the message against (schemas.py and
sensor.py in homeassistant/components/mqtt).
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import jsonschema
import pytest
from asking import Asker
from brokers import Mosquitto, Subscriber, wait_for
from emitting import NOBODY, drafts, settings_for

from edge.clock import rfc3339
from edge.delivery import About, Announcer, Delivery, State, Stats, TrackState, forget
from edge.delivery.broker import Received
from edge.delivery.commands import Command, read_command
from edge.delivery.discovery import discovery_payload, discovery_topic
from edge.delivery.topics import topics
from edge.errors import DeliveryError

Deliver = Callable[..., Delivery]
ABOUT = About(("angry", "happy", "sad"), "micro 1.0.0 ab12cd34")
ON = {"discovery": True}
CONFIG = "homeassistant/device/emotion-edge/cam/config"

TEXT = {"type": "string", "minLength": 1}
TOPIC = {"type": "string", "pattern": r"^[^+#\x00]+$"}
ENTITY = {"name": TEXT, "unique_id": TEXT, "icon": {"type": "string", "pattern": "^mdi:"}, "value_template": TEXT}
ENTITY |= {"entity_category": {"enum": ["diagnostic", "config"]}, "state_topic": TOPIC}
READING = {**ENTITY, "entity_category": {"const": "diagnostic"}, "expire_after": {"type": "integer", "minimum": 1}}
# platform -> options it knows, options it must have (the state topic may be shared)
PLATFORMS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "sensor": (
        {
            **READING,
            "device_class": {"enum": ["enum", "temperature"]},
            "state_class": {"enum": ["measurement", "total", "total_increasing"]},
            "unit_of_measurement": TEXT,
            "suggested_display_precision": {"type": "integer", "minimum": 0},
            "options": {"type": "array", "items": TEXT, "minItems": 1, "uniqueItems": True},
        },
        [],
    ),
    "binary_sensor": ({**READING, "device_class": {"const": "problem"}, "payload_on": TEXT, "payload_off": TEXT}, []),
    "switch": (
        {**ENTITY, "command_topic": TOPIC, **dict.fromkeys(("payload_on", "payload_off", "state_on", "state_off"), TEXT)},
        ["command_topic"],
    ),
}
ENUM_RULES = {
    "if": {"required": ["options"]},
    "then": {
        "properties": {"device_class": {"const": "enum"}},
        "required": ["device_class"],
        "not": {"anyOf": [{"required": ["state_class"]}, {"required": ["unit_of_measurement"]}]},
    },
}
UNIT_RULES = {
    "if": {"properties": {"device_class": {"const": "temperature"}}, "required": ["device_class", "unit_of_measurement"]},
    "then": {"properties": {"unit_of_measurement": {"enum": ["°C", "°F", "K"]}}},
}
COMPONENT = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"platform": {"const": platform}, **options},
            "required": ["platform", "unique_id", *required],
            # Home Assistant passes over what it does not know here; we send nothing of the kind.
            "additionalProperties": False,
            "allOf": [ENUM_RULES, UNIT_RULES],
        }
        for platform, (options, required) in PLATFORMS.items()
    ]
}
DEVICE_KEYS = ["identifiers", "connections", "manufacturer", "model", "name", "hw_version", "serial_number", "sw_version"]
DEVICE_KEYS += ["via_device", "suggested_area", "configuration_url"]
RULES = {
    "type": "object",
    "properties": {
        "device": {
            "type": "object",
            "properties": {
                **dict.fromkeys(DEVICE_KEYS, TEXT),
                "identifiers": {"type": "array", "items": TEXT, "minItems": 1},
            },
            "anyOf": [{"required": ["identifiers"]}, {"required": ["connections"]}],
            "additionalProperties": False,
        },
        "origin": {
            "type": "object",
            "properties": {"name": TEXT, "sw_version": TEXT, "support_url": {"type": "string", "pattern": "^https?://"}},
            "required": ["name"],
            "additionalProperties": False,
        },
        "components": {"type": "object", "additionalProperties": COMPONENT, "propertyNames": {"pattern": "^[a-zA-Z0-9_-]+$"}},
        "availability_topic": TOPIC,
        "availability_template": TEXT,
        "state_topic": TOPIC,
        "command_topic": TOPIC,
        "qos": {"enum": [0, 1, 2]},
        "encoding": TEXT,
    },
    "required": ["device", "origin", "components"],
    "additionalProperties": False,
}
CHECK = jsonschema.Draft202012Validator(RULES)
DISCOVERY_TOPIC = re.compile(r"[^+#]+/device/(?:[a-zA-Z0-9_-]+/)?[a-zA-Z0-9_-]+/config")


def render(template: str, payload: bytes) -> str:
    """As Home Assistant does: the payload is `value`, and `value_json` where it is JSON."""
    values: dict[str, Any] = {"value": payload.decode()}
    with contextlib.suppress(ValueError):
        values["value_json"] = json.loads(payload)
    return str(jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(template).render(**values)).strip()


@pytest.mark.parametrize(
    ("device", "prefix", "name"),
    [("cam", "emotion", None), ("küche.1", "emotion", "Küche"), ("cam", "site/a", None), ("x" * 60, "emotion", None)],
)
def test_the_description_keeps_the_rules(device: str, prefix: str, name: str | None) -> None:
    settings = settings_for(1, mqtt={"device": device, "prefix": prefix}, homeassistant={**ON, "name": name})
    payload = discovery_payload(settings, ABOUT)
    CHECK.validate(payload)
    assert DISCOVERY_TOPIC.fullmatch(discovery_topic(settings))
    ids = [component["unique_id"] for component in payload["components"].values()]
    assert len(set(ids)) == len(ids)
    for component in payload["components"].values():
        assert "state_topic" in component or "state_topic" in payload
    assert len({payload["device"]["name"], *(c["name"] for c in payload["components"].values())}) == len(ids) + 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("origin", "name"), None),
        (("device", "identifiers"), None),
        (("device", "colour"), "red"),
        (("hello",), 1),
        (("components", "emotion", "unique_id"), None),
        (("components", "emotion", "platform"), "thermometer"),
        (("components", "emotion", "options"), []),
        (("components", "emotion", "state_class"), "measurement"),
        (("components", "emotion", "device_class"), "temperature"),
        (("components", "temperature", "unit_of_measurement"), "C"),
        (("components", "pause", "command_topic"), "a/#"),
        (("components", "fps", "expire_after"), 1.5),
    ],
)
def test_what_breaks_a_rule_is_noticed(path: tuple[str, ...], value: Any) -> None:
    payload: Any = discovery_payload(settings_for(1, homeassistant=ON), ABOUT)
    node = payload
    for key in path[:-1]:
        node = node[key]
    if value is None:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        CHECK.validate(payload)


def test_two_devices_never_share_an_id() -> None:
    named = [
        settings_for(1, mqtt={"device": device, "prefix": prefix})
        for device in ("a.b", "a-b", "a_b")
        for prefix in ("emotion", "x")
    ]
    assert len({discovery_topic(settings) for settings in named}) == len(named)
    assert len({discovery_payload(settings, ABOUT)["device"]["identifiers"][0] for settings in named}) == len(named)


def test_every_template_reads_what_is_really_sent(mosquitto: Mosquitto, deliver: Deliver) -> None:
    """Every entity's value, for an empty room, a full one, and a device in trouble; from the topics of a real broker."""
    settings = settings_for(mosquitto.port, homeassistant=ON)
    with Asker(mosquitto.port) as asker:
        delivery = deliver(settings)
        delivery.describe(ABOUT)
        asker.wait_for_online()
        config = asker.json(CONFIG)[0]
        CHECK.validate(config)

        def values(state: State, stats: Stats) -> dict[str, str]:
            seen = len(asker.on("/state")), len(asker.on("/stats"))
            delivery.set_state(state)
            delivery.stats(stats)
            wait_for(lambda: len(asker.on("/stats")) > seen[1] and (len(asker.on("/state")) > seen[0] or state is NOBODY))
            newest = {message.topic: message.payload for message in list(asker.messages)}
            return {
                key: render(component["value_template"], newest[component.get("state_topic", config["state_topic"])])
                for key, component in config["components"].items()
            }

        stats = Stats(1, rfc3339(0), 1.0, 14.5, None, 10, 0, 0, delivery.counters, None, 1)
        empty = values(NOBODY, stats)
        assert (empty["emotion"], empty["confidence"], empty["faces"], empty["temperature"]) == ("None", "None", "0", "None")
        tracks = (TrackState("k-1", "happy", 0.91, rfc3339(0)), TrackState("k-2", "uncertain", 0.3, rfc3339(0)))
        full = State(1, 2, "happy", tracks, "m", "0.1.0", paused=True, problems=("camera",), confidence=0.91)
        busy = values(full, Stats(1, rfc3339(0), 1.0, 14.5, None, 10, 0, 0, delivery.counters, 58.5, 1))
        assert (busy["emotion"], busy["confidence"], busy["faces"]) == ("happy", "0.91", "2")
        assert (busy["fps"], busy["temperature"]) == ("14.5", "58.5")
        for read, paused, camera in ((empty, False, False), (busy, True, True)):
            switch = config["components"]["pause"]
            assert read["pause"] == switch["state_on" if paused else "state_off"]
            problem = config["components"]["problem_camera"]
            assert read["problem_camera"] == problem["payload_on" if camera else "payload_off"]
            assert read["problem_storage"] == problem["payload_off"]
        assert {key for key in config["components"] if key.startswith("problem_")} == {
            f"problem_{name}" for name in ("camera", "storage", "stage", "model", "temperature")
        }


def test_an_enum_can_hold_every_emotion_that_is_published() -> None:
    options = discovery_payload(settings_for(1), ABOUT)["components"]["emotion"]["options"]
    assert options == [*ABOUT.labels, "uncertain"]
    assert Announcer(ABOUT.labels, ABOUT.model, 1.0, str).state().emotion is None, "which reads None: unknown"


def test_the_switch_sends_what_the_device_takes() -> None:
    settings = settings_for(1)
    switch = discovery_payload(settings, ABOUT)["components"]["pause"]
    for payload, verb in ((switch["payload_on"], "pause"), (switch["payload_off"], "resume")):
        command = read_command(Received(switch["command_topic"], payload.encode()), topics(settings.mqtt))
        assert isinstance(command, Command)
        assert command.verb == verb


def test_availability_knows_our_three_words(mosquitto: Mosquitto, deliver: Deliver) -> None:
    template = discovery_payload(settings_for(1), ABOUT)["availability_template"]
    for word, expected in (("online", "online"), ("offline", "offline"), ("stopped", "offline")):
        assert render(template, word.encode()) == expected


def test_it_is_told_on_every_connection_on_birth_and_when_the_model_changes(mosquitto: Mosquitto, deliver: Deliver) -> None:
    delivery = deliver(settings_for(mosquitto.port, homeassistant=ON))
    with Asker(mosquitto.port) as asker:
        delivery.describe(ABOUT)
        assert len(asker.json(CONFIG)) == 1
        asker.publish("homeassistant/status", b"offline")
        asker.publish("homeassistant/status", b"online")
        assert asker.json(CONFIG, 2)[0] == asker.json(CONFIG)[1]
        delivery.describe(About(("happy", "sad"), "other 2.0.0 ffffffff"))
        assert asker.json(CONFIG, 3)[2]["device"]["model"] == "other 2.0.0 ffffffff"
        assert delivery.commands.empty()
        mosquitto.kill()
        mosquitto.start()
        assert len(asker.json(CONFIG, 4)) >= 4
    with Subscriber(mosquitto.port, CONFIG) as latecomer:
        wait_for(lambda: latecomer.messages, because="it is retained")


def test_without_discovery_home_assistant_is_told_nothing(mosquitto: Mosquitto, deliver: Deliver) -> None:
    with Subscriber(mosquitto.port) as subscriber:
        delivery = deliver(settings_for(mosquitto.port))
        delivery.describe(ABOUT)
        subscriber.wait_for_payload("/availability", b"online")
        delivery.put(drafts(3))
        subscriber.wait_for_ids(3)
        assert not [topic for topic, _ in subscriber.messages if topic.startswith("homeassistant")]


def test_a_forbidden_description_stops_no_event(tmp_path: Path, deliver: Deliver, caplog: pytest.LogCaptureFixture) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic write emotion/cam/#\ntopic read #\n")
    with Mosquitto(tmp_path / "mosquitto", f"acl_file {rules}") as mosquitto, Subscriber(mosquitto.port) as subscriber:
        delivery = deliver(settings_for(mosquitto.port, homeassistant=ON))
        delivery.describe(ABOUT)
        wait_for(lambda: f"publish on {CONFIG}" in caplog.text)
        delivery.put(drafts(20))
        assert delivery.drain(10) == 0
        subscriber.wait_for_ids(20)
        assert "trying again" not in caplog.text
        assert caplog.text.count("refuses to let us") == 1


def retained(port: int) -> dict[str, bytes]:
    """What the broker keeps, as a newcomer gets it."""
    with Subscriber(port, name="newcomer") as newcomer, Asker(port, "mark") as asker:
        asker.publish("mark", b"")
        wait_for(lambda: ("mark", b"") in newcomer.messages)
        return {topic: payload for topic, payload in newcomer.messages if payload}


@pytest.mark.parametrize("discovery", [True, False])
def test_forget_leaves_nothing_at_the_broker(mosquitto: Mosquitto, tmp_path: Path, deliver: Deliver, discovery: bool) -> None:
    delivery = deliver(settings_for(mosquitto.port, homeassistant=ON))
    delivery.describe(ABOUT)
    with Asker(mosquitto.port) as asker:
        asker.wait_for_online()
        asker.json(CONFIG)
        asker.ask("pause", b"{}", retain=True)
        asker.publish("emotion/cam2/state", b"a neighbour's", retain=True)
    delivery.stop()
    assert set(retained(mosquitto.port)) == {
        "emotion/cam/availability",
        "emotion/cam/state",
        "emotion/cam/command/pause",
        "emotion/cam2/state",
        CONFIG,
    }
    wiped = forget(settings_for(mosquitto.port, homeassistant={"discovery": discovery}))
    assert set(wiped) == {"emotion/cam/availability", "emotion/cam/state", "emotion/cam/command/pause", CONFIG}
    assert retained(mosquitto.port) == {"emotion/cam2/state": b"a neighbour's"}


def test_forget_says_why_it_could_not(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="connection refused"):
        forget(settings_for(1), timeout=1.5)
    rules = tmp_path / "acl"
    rules.write_text("topic write emotion/cam/availability\n")
    refused = pytest.raises(DeliveryError, match=r"emotion/cam/state cannot be wiped .*Not authorized")
    with Mosquitto(tmp_path / "mosquitto", f"acl_file {rules}") as mosquitto, refused:
        forget(settings_for(mosquitto.port))
