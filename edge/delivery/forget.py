"""Wipe what the broker keeps of a device: nothing of it is left there that a stranger could read."""

from __future__ import annotations

import select
import time

from edge.config import Settings
from edge.delivery.broker import Acknowledged, Connected, Lost, Received, Subscribed
from edge.delivery.discovery import discovery_topic
from edge.delivery.messages import Message
from edge.delivery.outbox import new_name
from edge.delivery.session import Backoff, Session
from edge.delivery.topics import topics
from edge.errors import DeliveryError
from edge.login import read_password, tls_context

TIMEOUT = 15.0
STEP = 0.05


def forget(settings: Settings, timeout: float = TIMEOUT) -> tuple[str, ...]:
    """Wipe every retained message of this device; stop the service before, or it will tell everything again.

    Args:
        timeout: seconds for all of it.

    Returns:
        The topics that are empty now.

    Raises:
        DeliveryError: no broker, or one that does not allow it; what was wiped by then stays wiped.
    """
    read_password(settings.mqtt)
    tls_context(settings.mqtt)
    names = topics(settings.mqtt)
    optional = discovery_topic(settings)
    wiping = [names.availability, names.state, optional]
    # A client of its own, which no broker remembers: the device's own session is left as it is.
    session = Session(
        settings.mqtt, f"emotion-edge-forget-{new_name()}", None, 0, Backoff(first=0.5, limit=2.0), wake=lambda: None
    )
    under_way: dict[int, str] = {}
    wiped: list[str] = []
    deadline = time.monotonic() + timeout
    try:
        while time.monotonic() < deadline:
            for signal in session.turn(time.monotonic(), 0):
                match signal:
                    case Connected():
                        # Whatever somebody else has retained below the device's topics arrives first, and goes too.
                        session.subscribe([f"{names.base}/#"], retained=True)
                    case Subscribed():
                        under_way |= {_wipe(session, topic): topic for topic in wiping if topic not in wiped}
                    case Received() if signal.retain and signal.payload and signal.topic not in wiping:
                        wiping.append(signal.topic)
                        under_way[_wipe(session, signal.topic)] = signal.topic
                    case Acknowledged(mid=mid) if mid in under_way:
                        topic = under_way.pop(mid)
                        if signal.refusal is None:
                            wiped.append(topic)
                        elif topic != optional or settings.homeassistant.discovery:
                            raise DeliveryError(
                                f"{topic} cannot be wiped (the broker says: {signal.refusal}); look at its access rules"
                            )
                        if not under_way:
                            return tuple(wiped)
                    case Lost():
                        under_way.clear()
            _wait(session)
    finally:
        session.end()
    raise DeliveryError(f"nothing is wiped for certain: {session.trouble or 'the broker does not answer'}; try again")


def _wipe(session: Session, topic: str) -> int:
    return session.publish(Message(topic, b"", retain=True))


def _wait(session: Session) -> None:
    sock = session.socket()
    if sock is None:
        time.sleep(STEP)
    else:
        select.select([sock], [sock] if session.wants_write() else [], [], STEP)
