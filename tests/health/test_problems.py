from __future__ import annotations

import pytest
from fakes import ManualClock

from edge.errors import StageError
from edge.health.problems import SETTLED, Problems
from edge.health.restarts import MOST, WITHIN, Restarts


def test_a_problem_is_told_when_it_begins_and_when_it_is_over() -> None:
    told: list[tuple[str, bool, str]] = []
    problems = Problems(lambda *alarm: told.append(alarm), ManualClock())
    counts = []
    for report in [
        ("model", None),
        ("model", "no such model"),
        ("model", "still no such model"),
        ("stage", "it hung"),
        ("model", None),
        ("model", None),
    ]:
        problems.report(*report)
        counts.append((len(told), len(problems.lasting)))
    assert counts == [(0, 0), (1, 1), (1, 1), (2, 2), (3, 1), (3, 1)]
    assert problems.lasting == {"stage"}
    assert told == [("model", True, "no such model"), ("stage", True, "it hung"), ("model", False, "over: still no such model")]


def test_one_that_comes_and_goes_is_told_once() -> None:
    told: list[tuple[str, bool, str]] = []
    clock = ManualClock()
    problems = Problems(lambda *alarm: told.append(alarm), clock)
    for _ in range(100):
        problems.report("camera", "a loose plug")
        clock.pass_by(SETTLED["camera"] / 2)
        problems.report("camera", None)
    assert len(told) == 1
    clock.step(3600)
    problems.report("camera", None)
    assert len(told) == 1
    clock.pass_by(SETTLED["camera"])
    problems.report("camera", None)
    assert [active for _, active, _ in told] == [True, False]


def test_what_hangs_too_often_is_given_up() -> None:
    clock = ManualClock()
    restarts = Restarts(clock)
    assert restarts.long_ago
    for _ in range(MOST):
        restarts.count("it hangs")
    assert not restarts.long_ago
    with pytest.raises(StageError, match="it hangs, for the 4"):
        restarts.count("it hangs")
    clock.pass_by(WITHIN + 1)
    assert restarts.long_ago
    restarts.count("it hangs")
    assert restarts.total == MOST + 1
