"""Home Assistant finds the device by itself: one retained message that describes it and everything it tells.

The rules are Home Assistant's, https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload; unknown keys at the
top or under `device` make it refuse the whole message, so there is nothing here beyond what every version with device
discovery (2024.11) knows.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, get_args

import msgspec

from edge import __version__
from edge.config import Settings
from edge.delivery.events import Problem
from edge.delivery.topics import device_name, topics

NAME = "emotion-edge"
UNCERTAIN = "uncertain"
# `stats` that stay away for so many intervals make fps and temperature unavailable.
MISSED_STATS = 3
BIRTH = b"online"


class About(msgspec.Struct, frozen=True):
    """What Home Assistant is told about the analysis.

    Attributes:
        labels: the model's classes.
        model: the model's identity, as events carry it.
    """

    labels: tuple[str, ...]
    model: str


def object_id(settings: Settings) -> str:
    """The device in Home Assistant's ids, which know letters, digits, `_` and `-` alone.

    Two devices of one broker never share it: where the name says less than the topic, a hash of the topic makes up for it.
    """
    name = device_name(settings.mqtt)
    if settings.mqtt.prefix == "emotion" and re.fullmatch(r"[a-zA-Z0-9_-]+", name):
        return name
    digest = hashlib.sha256(topics(settings.mqtt).base.encode()).hexdigest()[:8]
    return f"{re.sub(r'[^a-zA-Z0-9_-]+', '_', name)}-{digest}"


def discovery_topic(settings: Settings) -> str:
    """Where the description goes."""
    return f"{settings.homeassistant.prefix}/device/{NAME}/{object_id(settings)}/config"


def birth_topic(settings: Settings) -> str:
    """Where Home Assistant says `online` after its start."""
    return f"{settings.homeassistant.prefix}/status"


def discovery_payload(settings: Settings, about: About) -> dict[str, Any]:
    """The description: sensors, problem sensors and the pause switch, which all read `state` or `stats`."""
    names, unique = topics(settings.mqtt), f"{NAME}-{object_id(settings)}"
    name = settings.homeassistant.name or f"Emotion {device_name(settings.mqtt)}"
    components = _components(about, names.stats, names.command("pause"), settings.delivery.stats_interval)
    return {
        "device": {
            "identifiers": [unique],
            "name": name,
            "manufacturer": NAME,
            "model": about.model,
            "sw_version": __version__,
        },
        "origin": {"name": NAME, "sw_version": __version__},
        "availability_topic": names.availability,
        # `stopped` is a word of ours, and a word that Home Assistant does not know changes nothing there.
        "availability_template": "{{ 'online' if value == 'online' else 'offline' }}",
        "state_topic": names.state,
        "qos": 1,
        "components": {key: {**component, "unique_id": f"{unique}-{key}"} for key, component in components.items()},
    }


def _components(about: About, stats: str, pause: str, interval: float) -> dict[str, dict[str, Any]]:
    measured = {"platform": "sensor", "state_class": "measurement"}
    # What is `null` in a payload reads `None` in a template, which Home Assistant takes for unknown.
    rates = {**measured, "state_topic": stats, "expire_after": max(1, round(MISSED_STATS * interval)), **_DIAGNOSTIC}
    options = list(dict.fromkeys((*about.labels, UNCERTAIN)))
    return {
        "emotion": {
            "platform": "sensor",
            "name": "Emotion",
            "icon": "mdi:emoticon-outline",
            "device_class": "enum",
            "options": options,
            "value_template": "{{ value_json.emotion }}",
        },
        "confidence": {
            **measured,
            "name": "Confidence",
            "icon": "mdi:gauge",
            "suggested_display_precision": 2,
            "value_template": "{{ value_json.confidence }}",
        },
        "faces": {
            **measured,
            "name": "Faces",
            "icon": "mdi:face-recognition",
            "value_template": "{{ value_json.faces }}",
        },
        "fps": {
            **rates,
            "name": "Frames per second",
            "icon": "mdi:filmstrip",
            "unit_of_measurement": "fps",
            "suggested_display_precision": 1,
            "value_template": "{{ value_json.fps }}",
        },
        "temperature": {
            **rates,
            "name": "Board temperature",
            "device_class": "temperature",
            "unit_of_measurement": "°C",
            "suggested_display_precision": 0,
            "value_template": "{{ value_json.temperature }}",
        },
        **{f"problem_{problem}": _problem(problem) for problem in get_args(Problem)},
        "pause": {
            "platform": "switch",
            "name": "Pause",
            "icon": "mdi:pause-circle-outline",
            "command_topic": pause,
            "payload_on": '{"paused": true}',
            "payload_off": '{"paused": false}',
            "value_template": "{{ value_json.paused }}",
            "state_on": "True",
            "state_off": "False",
        },
    }


_DIAGNOSTIC = {"entity_category": "diagnostic"}


def _problem(problem: str) -> dict[str, Any]:
    return {
        "platform": "binary_sensor",
        "name": f"{problem.capitalize()} problem",
        "device_class": "problem",
        "value_template": f"{{{{ '{problem}' in value_json.problems }}}}",
        "payload_on": "True",
        "payload_off": "False",
        **_DIAGNOSTIC,
    }
