"""The number of threads is measured, and one more is taken only where it gives back a good part of a core."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import ManualClock

from edge.config import DetectorSettings
from edge.faces import open_detector
from edge.faces.threads import PATIENCE, fastest


@pytest.mark.parametrize(
    ("milliseconds", "cores", "expected"),
    [
        ({1: 12, 2: 6, 4: 3}, 4, 4),
        ({1: 12, 2: 6, 4: 5.8}, 4, 2),
        ({1: 6, 2: 5.8, 4: 12}, 4, 1),
        ({1: 12, 2: 6, 4: 3}, 2, 2),
        ({1: 12, 2: 6, 4: 3}, 1, 1),
        ({1: 12, 2: 6, 4: 3}, 3, 2),
        # So slow that there is no time to try another number.
        ({1: 400, 2: 1, 4: 1}, 4, 1),
    ],
)
def test_the_fewest_threads_that_no_more_would_beat_clearly(milliseconds: dict[int, float], cores: int, expected: int) -> None:
    clock = ManualClock()

    def prepare(threads: int) -> Callable[[], object]:
        return lambda: clock.pass_by(milliseconds[threads] / 1000)

    assert fastest(prepare, cores, clock.monotonic) == expected


def test_it_takes_no_longer_than_it_may() -> None:
    clock = ManualClock(0.0)
    fastest(lambda _: lambda: clock.pass_by(0.02), 4, clock.monotonic)
    # The first calls of a number are let through to their end.
    assert clock.monotonic() < PATIENCE + 3 * 0.02


@pytest.mark.parametrize("kind", ["haar", "yunet"])
def test_a_live_source_measures_and_a_replay_does_not(testdata: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    settings = DetectorSettings(kind=kind, weights=str(testdata / "models" / "yunet_n_320_320.onnx"))
    with caplog.at_level("DEBUG", logger="edge.faces"):
        open_detector(settings, live=True)
        assert "a detection takes" in caplog.text
        caplog.clear()
        open_detector(settings, live=False)
        open_detector(DetectorSettings(kind=kind, weights=settings.weights, threads=2), live=True)
        assert "a detection takes" not in caplog.text
        assert ["1 threads" in caplog.messages[-2], "2 threads" in caplog.messages[-1]] == [True, True]
