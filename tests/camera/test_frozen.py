"""The same picture for too long is a frozen camera; how often it is opened again for that is bounded."""

from __future__ import annotations

import numpy as np
import pytest

from edge.camera.frozen import LONGEST_PATIENCE, Sameness

NOISE = np.random.default_rng(1).integers(0, 256, (480, 640, 3), dtype=np.uint8)


def openings(sameness: Sameness, seconds: int, pictures: list[np.ndarray]) -> list[int]:
    """Seconds at which the camera is opened again, when it gives these pictures in turn, one a second."""
    times = []
    for second in range(seconds):
        sameness.look(pictures[second % len(pictures)], float(second))
        if sameness.worth_opening_again(float(second)):
            times.append(second)
    return times


@pytest.mark.parametrize(("row", "column"), [(0, 0), (7, 333), (16, 639), (479, 639)])
def test_one_bit_anywhere_is_a_change(row: int, column: int) -> None:
    other = NOISE.copy()
    other[row, column, 1] ^= 1
    assert openings(Sameness(10), 60, [NOISE, other]) == []
    assert openings(Sameness(10), 60, [NOISE, NOISE.copy()]) != []


def test_a_picture_that_never_changes_is_tried_more_and_more_rarely() -> None:
    times = openings(Sameness(10), 3600, [NOISE])
    assert times[0] in (10, 11)
    gaps = np.diff(times).tolist()
    assert gaps[:5] == [20, 40, 80, 160, 320]
    assert set(gaps[5:]) == {LONGEST_PATIENCE}


def test_a_camera_that_is_still_again_after_each_opening_is_not_opened_all_night() -> None:
    sameness, times = Sameness(10), []
    picture = NOISE
    for second in range(3600):
        # A network camera that sends nothing new of an empty room gives one new whole picture when it is opened.
        if times and times[-1] == second - 1:
            picture = picture ^ np.uint8(1 + second % 7)
        sameness.look(picture, float(second))
        if sameness.worth_opening_again(float(second)):
            times.append(second)
    assert 6 <= len(times) <= 12


def test_a_camera_that_moved_again_for_a_while_is_a_new_fault() -> None:
    sameness = Sameness(10)
    assert len(openings(sameness, 400, [NOISE])) >= 4
    at = 400.0
    while at < 420:
        at += 0.5
        sameness.look(NOISE ^ np.uint8(int(2 * at) % 251), at)
    assert not sameness.frozen
    begin = at
    while not sameness.worth_opening_again(at):
        at += 0.5
        sameness.look(NOISE, at)
    assert at - begin <= 12
