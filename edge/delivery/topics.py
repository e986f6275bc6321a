"""The topics of one device."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

from edge.config import MqttSettings


@dataclass(frozen=True, slots=True)
class Topics:
    """`<prefix>/<device>/…`.

    Attributes:
        availability: `online`, `offline` (the will) or `stopped`; retained, QoS 1.
        events: QoS 1, not retained.
        batch: several events in one message, instead of `events`; likewise.
        alarms: QoS 1, not retained.
        state: retained, QoS 1, on change.
        stats: QoS 0, not retained.
        commands: the filter of `command/<verb>`, what others may ask of the device.
        replies: what the topic of every reply begins with.
    """

    base: str

    @property
    def availability(self) -> str:
        return f"{self.base}/availability"

    @property
    def events(self) -> str:
        return f"{self.base}/events"

    @property
    def batch(self) -> str:
        return f"{self.base}/events/batch"

    @property
    def alarms(self) -> str:
        return f"{self.base}/alarms"

    @property
    def state(self) -> str:
        return f"{self.base}/state"

    @property
    def stats(self) -> str:
        return f"{self.base}/stats"

    @property
    def commands(self) -> str:
        return f"{self.base}/command/+"

    @property
    def replies(self) -> str:
        return f"{self.base}/reply/"

    def branch(self, name: str) -> str:
        """What the topics of a further branch begin with."""
        return f"{self.base}/{name}/"

    def command(self, verb: str) -> str:
        """Where a command is sent to."""
        return f"{self.base}/command/{verb}"


def device_name(settings: MqttSettings) -> str:
    """The device's name in topics: as set, else the host's name without what a topic level cannot hold."""
    return settings.device or re.sub(r"[/+#\x00\s]+", "-", socket.gethostname()) or "device"


def topics(settings: MqttSettings) -> Topics:
    """The topics that these settings name."""
    return Topics(f"{settings.prefix}/{device_name(settings)}")
