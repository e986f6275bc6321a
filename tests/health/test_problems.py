from __future__ import annotations

from edge.health.problems import Problems


def test_a_problem_is_told_when_it_begins_and_when_it_is_over() -> None:
    told: list[tuple[str, bool, str]] = []
    problems = Problems(lambda *alarm: told.append(alarm))
    assert not problems.report("camera", None)
    assert problems.report("camera", "no such camera")
    assert not problems.report("camera", "still no such camera")
    assert problems.report("temperature", "too hot")
    assert problems.lasting == ("camera", "temperature")
    assert problems.report("camera", None)
    assert not problems.report("camera", None)
    assert problems.lasting == ("temperature",)
    assert told == [
        ("camera", True, "no such camera"),
        ("temperature", True, "too hot"),
        ("camera", False, "over: still no such camera"),
    ]
