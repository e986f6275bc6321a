from __future__ import annotations

from fakes import ManualClock

from edge.health import Heartbeats


def test_a_stage_that_does_not_move_hangs_whatever_the_wall_clock_does() -> None:
    clock = ManualClock()
    beats = Heartbeats({"capture": 10, "analysis": 10}, clock)
    beats.beat("capture", clock.monotonic())
    beats.beat("analysis", clock.monotonic())
    clock.step(3600)
    assert beats.hung() == []
    for _ in range(11):
        clock.pass_by(1)
        beats.beat("analysis", clock.monotonic())
        hung = beats.hung()
    assert hung == ["capture"]


def test_when_the_one_who_asks_stood_still_nobody_else_is_blamed_before_a_turn() -> None:
    clock = ManualClock()
    beats = Heartbeats({"analysis": 10}, clock)
    beats.beat("analysis", clock.monotonic())
    clock.pass_by(3600)
    assert beats.hung() == [], "the machine was suspended"
    clock.pass_by(0.25)
    assert beats.hung() == ["analysis"], "it has had its turn"


def test_the_watchdog_is_fed_only_when_every_stage_has_moved_since_the_last_meal() -> None:
    clock = ManualClock()
    beats = Heartbeats({"capture": 10, "analysis": 10}, clock)
    for stage in ("capture", "analysis"):
        beats.beat(stage, clock.monotonic())
    assert beats.all_moved()
    assert not beats.all_moved()
    clock.pass_by(1)
    beats.beat("analysis", clock.monotonic())
    assert not beats.all_moved(), "the capture has not moved"
    beats.beat("capture", clock.monotonic())
    assert beats.all_moved()


def test_of_a_stage_that_does_not_run_nothing_is_expected() -> None:
    clock = ManualClock()
    beats = Heartbeats({"capture": 10, "analysis": 10}, clock)
    beats.beat("analysis", clock.monotonic())
    clock.pass_by(11)
    beats.forget("analysis", "capture")
    assert beats.hung() == []
    assert beats.all_moved()
