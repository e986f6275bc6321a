"""A broker, and deliveries that are stopped whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from emitting import NOBODY, QUICK

from edge.config import Settings
from edge.delivery import Delivery, State


@pytest.fixture
def deliver(tmp_path: Path) -> Iterator[Callable[..., Delivery]]:
    """Makes started deliveries with short pauses; all of them are stopped at the end."""
    made: list[Delivery] = []

    def start(
        settings: Settings, *, state_dir: Path | None = None, state: State | None = NOBODY, replay: bool = False
    ) -> Delivery:
        delivery = Delivery(settings, state_dir or tmp_path / "state", replay=replay, backoff=QUICK)
        made.append(delivery)
        if state is not None:
            delivery.set_state(state)
        delivery.start()
        return delivery

    yield start
    for delivery in made:
        delivery.stop()
