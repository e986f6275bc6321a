"""Emotions -> events -> outbox -> broker.

Announcer   tracked faces with their emotions -> event drafts and the retained state; pure
Delivery    takes drafts, stores them on disk, brings them to the broker; hands out commands; one thread
forget      wipes what the broker keeps of a device
"""

from __future__ import annotations

from edge.delivery.announcer import Announcer
from edge.delivery.commands import Command
from edge.delivery.delivery import Delivery
from edge.delivery.discovery import About
from edge.delivery.events import (
    Alarm,
    CameraStats,
    Counters,
    Event,
    EventDraft,
    Latency,
    Problem,
    Shadow,
    State,
    Stats,
    TrackState,
)
from edge.delivery.forget import forget
from edge.delivery.session import Backoff

__all__ = [
    "About",
    "Alarm",
    "Announcer",
    "Backoff",
    "CameraStats",
    "Command",
    "Counters",
    "Delivery",
    "Event",
    "EventDraft",
    "Latency",
    "Problem",
    "Shadow",
    "State",
    "Stats",
    "TrackState",
    "forget",
]
