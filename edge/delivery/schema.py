"""The wire format as JSON Schema and AsyncAPI, made from the structs: `python -m edge.delivery.schema [ROOT]`.

ROOT is the top of a source tree; the files are written to edge/delivery/*.schema.json and docs/asyncapi.json.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import msgspec

from edge.delivery.commands import ARGUMENTS, Pause
from edge.delivery.events import Alarm, Batch, Event, Reply, State, Stats

DRAFT = "https://json-schema.org/draft/2020-12/schema"
PAYLOADS = {"event": Event, "batch": Batch, "alarm": Alarm, "state": State, "stats": Stats, "reply": Reply}
AVAILABILITY = {"type": "string", "enum": ["online", "offline", "stopped"]}
# What is no JSON: its content type and its schema.
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "availability": ("text/plain", AVAILABILITY),
    "update": ("application/octet-stream", {"type": "string", "format": "binary"}),
}
# Taken, not published.
TAKEN = ("command", "update")

# name -> address under <prefix>/<device>/, summary, QoS, retained
CHANNELS: dict[str, tuple[str, str, int, bool]] = {
    "availability": ("availability", "online after the state; offline is the will; stopped after a clean stop", 1, True),
    "event": ("events", "one message for each event, where delivery.batch is 1", 1, False),
    "batch": ("events/batch", "several events in one message, where delivery.batch is more", 1, False),
    "alarm": ("alarms", "something is wrong, or over", 1, False),
    "state": ("state", "who is there now, on change", 1, True),
    "stats": ("stats", "how the device is doing, from time to time", 0, False),
    "command": ("command/{verb}", "what the device shall do; an empty payload is as good as {}", 1, False),
    "reply": ("reply/{subject}", "the answer to a command, here or on its response topic; how an update stands", 1, False),
    "update": ("update/{step}", "a signed model, piece by piece; see updates.md", 0, False),
}
PARAMETERS = {
    "prefix": {"description": "mqtt.prefix, one level or more", "default": "emotion"},
    "device": {"description": "mqtt.device, else the host's name"},
    "verb": {"description": "which command", "enum": list(ARGUMENTS)},
    "subject": {"description": "which command, or update", "enum": [*ARGUMENTS, "update"]},
    "step": {"description": "the head of a package, a piece of it, or a question", "enum": ["offer", "chunk", "status"]},
}


def schema(name: str) -> dict[str, Any]:
    """JSON Schema of one payload.

    Args:
        name: a key of `PAYLOADS`.
    """
    document = {"$schema": DRAFT, "$id": f"urn:emotion-edge:{name}:1", **msgspec.json.schema(PAYLOADS[name])}
    return dict(_clean(document))


def asyncapi() -> dict[str, Any]:
    """AsyncAPI 3 description of every topic."""
    kinds = {**PAYLOADS, "command": Pause}
    _, components = msgspec.json.schema_components(kinds.values(), ref_template="#/components/schemas/{name}")
    messages: dict[str, Any] = {
        name: {"contentType": "application/json", "payload": {"$ref": f"#/components/schemas/{kind.__name__}"}}
        for name, kind in kinds.items()
    }
    messages |= {name: {"contentType": content, "payload": payload} for name, (content, payload) in OTHERS.items()}
    document = {
        "asyncapi": "3.0.0",
        "info": {"title": "emotion-edge", "version": "1", "description": "What a device publishes and takes. See mqtt.md."},
        "defaultContentType": "application/json",
        "channels": {
            name: {
                "address": f"{{prefix}}/{{device}}/{address}",
                "description": summary,
                "parameters": {
                    key: value for key, value in PARAMETERS.items() if f"{{{key}}}" in f"{{prefix}}{{device}}{address}"
                },
                "messages": {name: {"$ref": f"#/components/messages/{name}"}},
            }
            for name, (address, summary, _, _) in CHANNELS.items()
        },
        "operations": {
            f"{'take' if name in TAKEN else 'publish'}-{name}": {
                "action": "receive" if name in TAKEN else "send",
                "channel": {"$ref": f"#/channels/{name}"},
                "bindings": {"mqtt": {"qos": qos, "retain": retain, "bindingVersion": "0.2.0"}},
            }
            for name, (_, _, qos, retain) in CHANNELS.items()
        },
        "components": {
            "messages": {name: messages[name] for name in CHANNELS},
            "schemas": components,
        },
    }
    return dict(_clean(document))


def files() -> dict[str, bytes]:
    """Path under the source tree -> content."""
    documents = {f"edge/delivery/{name}.schema.json": schema(name) for name in PAYLOADS}
    documents["docs/asyncapi.json"] = asyncapi()
    return {path: msgspec.json.format(msgspec.json.encode(document)) + b"\n" for path, document in documents.items()}


def _clean(node: Any) -> Any:
    """The same text from every version: docstrings differ in indentation by Python, `anyOf` in order by msgspec."""
    if isinstance(node, dict):
        cleaned: dict[str, Any] = {
            key: inspect.cleandoc(value) if key == "description" else _clean(value) for key, value in node.items()
        }
        if "anyOf" in cleaned:
            cleaned["anyOf"].sort(key=msgspec.json.encode)
        return cleaned
    return [_clean(value) for value in node] if isinstance(node, list | tuple) else node


def main(root: Path) -> None:
    """Write every file."""
    for path, content in files().items():
        (root / path).write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
