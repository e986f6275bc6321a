"""A client that sends commands and keeps everything it receives, with what MQTT 5 says beside the payload."""

from __future__ import annotations

import json
import threading
from typing import Any

import paho.mqtt.client as paho
from brokers import HOST, wait_for
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


class Asker:
    """Subscribed to a filter from its beginning to its end.

    Args:
        five: speak MQTT 5, else 3.1.1.

    Attributes:
        messages: in the order of arrival.
    """

    def __init__(self, port: int, topic: str = "#", *, five: bool = True, base: str = "emotion/cam", login: str | None = None):
        self.base, self.messages = base, list[paho.MQTTMessage]()
        self._ready = threading.Event()
        version = MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "asker", protocol=version)
        if login:
            self._client.username_pw_set(login, login)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _client, _data, message: self.messages.append(message)
        self._client.connect(HOST, port)
        self._client.loop_start()
        assert self._ready.wait(10), f"no subscription on port {port}"

    def ask(self, verb: str, payload: bytes | str = b"", *, retain: bool = False, **properties: Any) -> None:
        """Send a command; properties such as `ResponseTopic` and `CorrelationData`."""
        self.publish(f"{self.base}/command/{verb}", payload, retain=retain, **properties)

    def publish(self, topic: str, payload: bytes | str, *, retain: bool = False, **properties: Any) -> None:
        """Send anything, and wait until the broker has it."""
        packet = Properties(PacketTypes.PUBLISH) if properties else None
        for name, value in properties.items():
            setattr(packet, name, value)
        self._client.publish(topic, payload, qos=1, retain=retain, properties=packet).wait_for_publish(10)

    def on(self, topic_end: str) -> list[paho.MQTTMessage]:
        """Messages of the topics that end so."""
        return [message for message in list(self.messages) if message.topic.endswith(topic_end)]

    def wait_for_online(self) -> None:
        """Wait until the device says `online`; it has subscribed to its commands by then."""
        wait_for(lambda: self.on("/availability") and self.on("/availability")[-1].payload == b"online", because="online")

    def json(self, topic_end: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for so many messages of a topic; returns their payloads."""
        wait_for(lambda: len(self.on(topic_end)) >= count, because=f"{count} messages on {topic_end}")
        return [json.loads(message.payload) for message in self.on(topic_end)]

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
