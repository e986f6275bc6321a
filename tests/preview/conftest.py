"""A real Preview on a free port of this machine, stopped whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from previewing import LABELS, MODEL, ShiftedClock

from edge.config import PreviewSettings
from edge.preview import Preview

Opener = Callable[..., Preview]


@pytest.fixture
def clock() -> ShiftedClock:
    return ShiftedClock()


@pytest.fixture
def preview(clock: ShiftedClock) -> Iterator[Opener]:
    """Makes one from settings and starts it; `device`, `labels` and `model` may be given too."""
    made: list[Preview] = []

    def start(device: str = "kitchen", labels: tuple[str, ...] = LABELS, model: str = MODEL, **settings: Any) -> Preview:
        made.append(Preview(PreviewSettings(**({"port": 0} | settings)), device, labels, model, clock))
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        each.stop()
