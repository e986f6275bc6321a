"""A track is one face for as long as it is seen, and a number is never used twice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edge.config import TrackSettings
from edge.faces import overlap
from edge.faces.tracks import Tracker
from edge.types import Face, Frame

BLACK = np.zeros((1, 1, 3), np.uint8)


def frame(time: float, scene: int = 0) -> Frame:
    return Frame(BLACK, round(time * 10), time, time, scene)


def test_two_people_who_pass_each_other_keep_their_numbers() -> None:
    tracker, numbers = Tracker(TrackSettings()), set()
    for step in range(30):
        # One walks right, one walks left, a head's height apart; the detector's order changes all the time.
        faces = [Face(100 + 15 * step, 100, 80), Face(535 - 15 * step, 190, 80)]
        tracked, ended = tracker.update(faces[:: 1 if step % 2 else -1], frame(step / 10))
        numbers.add(tuple(sorted((t.track, t.face.y) for t in tracked)))
        assert ended == []
    assert len(numbers) == 1
    assert [number for number, _ in numbers.pop()] == [1, 2]


def test_missed_frames_keep_the_track_and_say_unseen() -> None:
    tracker = Tracker(TrackSettings(max_gap=1.0))
    tracker.update([Face(100, 100, 80)], frame(0.0))
    tracked, ended = tracker.update([], frame(0.9))
    assert [(t.track, t.seen, t.face.x) for t in tracked] == [(1, False, 100)]
    tracked, _ = tracker.update([Face(104, 100, 80)], frame(1.0))
    assert [(t.track, t.seen, t.face.x) for t in tracked] == [(1, True, 104)]
    assert ended == []


def test_a_gap_ends_the_track_once_and_its_number_is_not_used_again() -> None:
    tracker = Tracker(TrackSettings(max_gap=1.0))
    tracker.update([Face(100, 100, 80)], frame(0.0))
    tracked, ended = tracker.update([], frame(1.1))
    assert (tracked, ended) == ([], [1])
    tracked, ended = tracker.update([Face(100, 100, 80)], frame(1.2))
    assert ([t.track for t in tracked], ended) == ([2], [])


def test_where_nothing_can_be_followed_places_stay_and_a_face_that_is_still_there_goes_on_however_rare_the_detections_are() -> (
    None
):
    tracker = Tracker(TrackSettings(max_gap=1.0))
    tracker.update([Face(100, 100, 80)], frame(0.0))
    tracked, ended = tracker.follow(frame(0.5))
    assert ([(t.track, t.face.x, t.seen) for t in tracked], ended) == ([(1, 100, False)], [])
    tracked, ended = tracker.update([Face(102, 100, 80)], frame(1.5))
    assert ([(t.track, t.face.x, t.seen) for t in tracked], ended) == ([(1, 102, True)], [])
    assert tracker.update([], frame(3.0)) == ([], [1])


def test_a_fast_face_is_followed_out_of_its_own_square_but_not_across_the_room() -> None:
    tracker = Tracker(TrackSettings(min_overlap=0.2))
    tracker.update([Face(100, 100, 80)], frame(0.0))
    tracked, _ = tracker.update([Face(165, 100, 80)], frame(0.1))
    assert [t.track for t in tracked] == [1]
    tracked, _ = tracker.update([Face(400, 100, 80)], frame(0.2))
    assert sorted((t.track, t.seen) for t in tracked) == [(1, False), (2, True)]


def test_a_large_face_that_covers_a_small_one_is_another_face() -> None:
    tracker = Tracker(TrackSettings())
    tracker.update([Face(100, 100, 40)], frame(0.0))
    tracked, _ = tracker.update([Face(110, 100, 200)], frame(0.1))
    assert sorted((t.track, t.seen) for t in tracked) == [(1, False), (2, True)]


def test_overlap_wins_over_nearness() -> None:
    tracker = Tracker(TrackSettings())
    tracker.update([Face(100, 100, 80), Face(170, 100, 80)], frame(0.0))
    # The first has left; the second has moved towards where the first was.
    tracked, _ = tracker.update([Face(150, 100, 80)], frame(0.1))
    assert [(t.track, t.face.x) for t in tracked if t.seen] == [(2, 150)]


def test_a_new_scene_ends_every_track_even_when_the_next_face_is_in_the_same_place() -> None:
    tracker = Tracker(TrackSettings(max_gap=10))
    tracker.update([Face(100, 100, 80)], frame(0.0, scene=0))
    tracked, ended = tracker.update([Face(100, 100, 80)], frame(0.1, scene=1))
    assert ([t.track for t in tracked], ended) == ([2], [1])


def test_end_names_every_track() -> None:
    tracker = Tracker(TrackSettings())
    tracker.update([Face(100, 100, 80), Face(300, 100, 80)], frame(0.0))
    assert tracker.end() == [1, 2]
    assert tracker.follow(frame(0.1)) == ([], [])


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (Face(10, 10, 10), Face(10, 10, 10), 1.0),
        (Face(10, 10, 10), Face(15, 10, 10), 1 / 3),
        (Face(10, 10, 10), Face(20, 10, 10), 0.0),
        (Face(10, 10, 10), Face(99, 10, 10), 0.0),
        (Face(10, 10, 20), Face(10, 10, 10), 0.25),
    ],
)
def test_overlap(a: Face, b: Face, expected: float) -> None:
    assert overlap(a, b) == pytest.approx(expected)
    assert overlap(b, a) == pytest.approx(expected)


def test_trackers_that_share_their_numbers_never_give_one_twice() -> None:
    numbers = itertools.count(1)
    first, second = Tracker(TrackSettings(), numbers), Tracker(TrackSettings(), numbers)
    given = [
        track.track for tracker in (first, second, first) for track in tracker.update([Face(9, 9, 9)], frame(0.0, id(tracker)))[0]
    ]
    assert given == [1, 2, 1]
    assert [track.track for track in first.update([Face(900, 9, 9)], frame(0.1, id(first)))[0]] == [1, 3]
