"""Whether everything moves, and how the device is doing.

heartbeats   when each stage last moved
systemd      what the service manager is told
vitals       heat, throttling, memory
meter        frames, latency: the figures of `stats`
metrics      the same for Prometheus
"""

from __future__ import annotations

from edge.health.heartbeats import Heartbeats
from edge.health.systemd import Systemd

__all__ = ["Heartbeats", "Systemd"]
