"""Emotions -> events -> outbox -> broker.

Announcer   tracked faces with their emotions -> event drafts and the retained state; pure
Delivery    takes drafts, stores them on disk, brings them to the broker; one thread
"""

from __future__ import annotations

from edge.delivery.announcer import Announcer
from edge.delivery.delivery import Delivery
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
from edge.delivery.session import Backoff

__all__ = [
    "Alarm",
    "Announcer",
    "Backoff",
    "CameraStats",
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
]
