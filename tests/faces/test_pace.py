"""The load decides how often faces are looked for, so that the detector always gets the newest frame there is."""

from __future__ import annotations

import itertools
from collections import deque
from typing import NamedTuple

import numpy as np
import pytest

from edge.faces.pace import Pace
from edge.types import Frame

BLACK = np.zeros((1, 1, 3), np.uint8)
RING = 3


class Run(NamedTuple):
    """What a board made of a camera: frames worked through, dropped, detections, their ages at the start, k at the end."""

    frames: int
    dropped: int
    detections: int
    oldest: float
    gap: float
    every: int


def frame(number: int, time: float, scene: int = 0) -> Frame:
    return Frame(BLACK, number, time, time, scene)


def run(pace: Pace, detection: float, rest: float, rate: float = 15.0, seconds: float = 20.0) -> Run:
    """A camera, a ring of three frames and one worker whose work takes what it is said to take; the last half counts."""
    ring, coming = deque[Frame](), (frame(n, n / rate) for n in itertools.count())
    now, upcoming = 0.0, next(coming)
    frames = dropped = detections = 0
    oldest = gap = looked_at = 0.0
    while now < seconds:
        while upcoming.time <= now:
            ring.append(upcoming)
            if len(ring) > RING:
                ring.popleft()
                dropped += now > seconds / 2
            upcoming = next(coming)
        if not ring:
            now = upcoming.time
            continue
        taken = ring.popleft()
        due = pace.due(taken, len(ring))
        cost = rest + (detection if due else 0.0)
        if now > seconds / 2:
            frames += 1
            detections += due
            if due:
                oldest, gap = max(oldest, now - taken.time), max(gap, taken.time - looked_at)
        if due:
            looked_at = taken.time
        now += cost
        pace.spent(detection if due else None, cost)
    return Run(frames, dropped, detections, oldest, gap, pace.every)


@pytest.mark.parametrize(
    ("detection", "rest", "every"),
    [
        (0.010, 0.005, 1),
        (0.040, 0.005, 1),
        (0.060, 0.005, 2),
        (0.120, 0.010, 3),
        (0.200, 0.015, 6),
        (0.010, 0.045, 1),
        (0.060, 0.040, 5),
    ],
)
def test_k_is_the_smallest_that_the_board_can_keep_up_with(detection: float, rest: float, every: int) -> None:
    result = run(Pace(0, live=True), detection, rest)
    assert result.every == pytest.approx(every, abs=1)
    assert (result.every == 1) == (every == 1)
    # Nothing is lost but what a detection longer than the ring itself has pushed out.
    assert result.dropped <= result.detections * max(0, np.ceil(detection * 15) - RING + 1)
    assert result.frames > 0.9 * 150 - result.dropped
    # The detector gets frames that are hardly older than one period; every second one would be older without it.
    assert result.oldest <= 1 / 15 + 1e-9


def test_without_it_frames_are_old_and_lost() -> None:
    """The negative control: the same board, detecting on every frame."""
    result = run(Pace(1, live=True), 0.120, 0.010)
    assert result.dropped > 50
    assert result.oldest > 0.15


def test_a_board_that_cannot_even_follow_still_looks_for_faces() -> None:
    result = run(Pace(0, live=True, max_gap=1.0), 0.3, 0.1)
    assert result.gap < 1.0
    assert result.detections > 8


@pytest.mark.parametrize(("max_gap", "longest"), [(1.0, 0.5), (0.4, 0.2), (60.0, 0.5)])
def test_a_new_face_waits_half_a_second_at_most_and_half_the_gap(max_gap: float, longest: float) -> None:
    result = run(Pace(0, live=True, max_gap=max_gap), 0.1, 0.06, seconds=30)
    # A detection may begin one frame after it is due, and its frame may have waited for the one before.
    assert result.gap <= longest + 0.25
    assert result.every <= max(1, longest * 15)


def test_it_slows_down_with_the_board_and_recovers() -> None:
    pace = Pace(0, live=True)
    assert run(pace, 0.010, 0.005).every == 1
    assert run(pace, 0.120, 0.010).every >= 3
    assert run(pace, 0.010, 0.005).every == 1


def test_a_camera_that_was_away_does_not_look_slow() -> None:
    pace = Pace(0, live=True)
    run(pace, 0.060, 0.005)
    assert pace.every == 2
    pace.due(frame(301, 320.0))
    pace.spent(None, 0.005)
    assert pace.every == 2


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("every", [1, 3, 7])
def test_a_number_that_was_asked_for_is_kept(every: int, live: bool) -> None:
    pace, due = Pace(every, live), []
    for number in range(21):
        due.append(pace.due(frame(number, number / 15), waiting=number % 3))
        pace.spent(5.0 if due[-1] else None, 5.0)
    assert due == [number % every == 0 for number in range(21)]
    assert pace.every == every


def test_a_file_is_searched_in_every_frame_however_slow_that_is() -> None:
    pace = Pace(0, live=False)
    for number in range(20):
        assert pace.due(frame(number, number / 15), waiting=3)
        pace.spent(5.0, 5.0)
    assert pace.every == 1


def test_a_new_scene_a_reset_and_a_face_that_is_wanted_bring_it_forward() -> None:
    pace = Pace(5, live=False)
    answers = [pace.due(frame(number, number / 15, scene=number // 3)) for number in range(7)]
    assert answers == [True, False, False, True, False, False, True]
    assert not pace.due(frame(7, 0.5, scene=2))
    assert pace.due(frame(8, 0.6, scene=2), wanted=True)
    assert not pace.due(frame(9, 0.7, scene=2))
    pace.reset()
    assert pace.due(frame(10, 0.8, scene=2))


def test_a_face_that_is_wanted_waits_for_the_newest_frame() -> None:
    pace = Pace(0, live=True)
    pace.due(frame(0, 0.0))
    for _ in range(4):
        pace.spent(None, 0.2)
    assert not pace.due(frame(5, 0.1), waiting=1, wanted=True)
    assert pace.due(frame(6, 0.2), waiting=0, wanted=True)
