"""Event drafts and settings for tests of the delivery."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from brokers import HOST

from edge.config import DeliverySettings, HomeAssistantSettings, MqttSettings, Settings
from edge.delivery import Backoff, Delivery, EventDraft, State

QUICK = Backoff(first=0.05, limit=0.3)
NOBODY = State(1, 0, None, (), "micro 1.0.0 ab12cd34", "0.1.0")


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process may grow any further: SQLite gets the same refusals as from a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def draft(number: int = 0, track: int = 1) -> EventDraft:
    """A draft whose `at` tells it from others."""
    return EventDraft(
        "update", track, "happy", 0.9, {"happy": 0.9, "sad": 0.1}, (0.1, 0.2, 0.3, 0.4), 0.0, float(number), "m 1 ab12cd34"
    )


def drafts(count: int) -> list[EventDraft]:
    """Drafts with running numbers."""
    return [draft(number) for number in range(count)]


def settings_for(
    port: int, *, mqtt: dict[str, Any] | None = None, homeassistant: dict[str, Any] | None = None, **delivery: Any
) -> Settings:
    """Settings for a broker on the loopback."""
    return Settings(
        mqtt=MqttSettings(**{"host": HOST, "port": port, "device": "cam", **(mqtt or {})}),
        delivery=DeliverySettings(**delivery),
        homeassistant=HomeAssistantSettings(**(homeassistant or {})),
    )


@contextmanager
def delivering(settings: Settings, state_dir: Path) -> Iterator[Delivery]:
    """A started delivery with a state, stopped whatever happens."""
    delivery = Delivery(settings, state_dir, replay=False, backoff=QUICK)
    delivery.set_state(NOBODY)
    delivery.start()
    try:
        yield delivery
    finally:
        delivery.stop()
