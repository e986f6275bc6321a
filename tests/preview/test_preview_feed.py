"""What the analysis hands over costs it next to nothing, and no more memory after hours than after minutes."""

from __future__ import annotations

import gc
import itertools
import json
import re
import tracemalloc
import weakref
from collections.abc import Callable

import cv2
import numpy as np
from fakes import ManualClock
from previewing import LABELS, MODEL, ask, emotion, face, frame, port_of, portrait, send

from edge.config import PreviewSettings
from edge.preview import Preview, pictures
from edge.preview.feed import MOST_FACES, RATE, WINDOW
from edge.preview.pictures import Pictures

FIVE = [(face(track), emotion("happy", 0.8)) for track in range(300, 305)]


def _heard(shown: Preview) -> list:
    """What a page that comes now is told of the past."""
    _, hello = shown._feed.messages(lambda _: True, pictures=False)
    return json.loads(re.sub(rb"event: hello\ndata: ", b"", hello))["samples"]


def test_two_minutes_are_kept_at_five_looks_a_second_whatever_the_rate():
    for rate in (2, 5, 15, 120):
        clock = ManualClock()
        shown = Preview(PreviewSettings(), "kitchen", LABELS, MODEL, clock)
        for number in range(round(200 * rate)):
            clock.pass_by(1 / rate)
            shown.frame(frame(number), FIVE[:1])
        kept = _heard(shown)
        assert len(kept) <= WINDOW * RATE
        assert kept[-1][0] - kept[0][0] >= WINDOW - 2 / min(rate, RATE)
        assert max(b[0] - a[0] for a, b in itertools.pairwise(kept)) <= 1 / min(rate, RATE) + 2 / rate


def test_frames_between_two_looks_leave_nothing_behind():
    clock = ManualClock()
    shown = Preview(PreviewSettings(pictures=True), "kitchen", LABELS, MODEL, clock)
    shown.frame(frame(0), FIVE)
    tracemalloc.start()
    try:
        for number in range(1000):
            shown.frame(frame(number), FIVE)
        gc.collect()
        own = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/edge/preview/*")])
    finally:
        tracemalloc.stop()
    # The counter and the time of the newest frame.
    assert sum(trace.count for trace in own.statistics("filename")) <= 4
    assert len(_heard(shown)) == 1


def test_memory_does_not_grow_from_the_fourth_minute_to_the_twentieth():
    clock = ManualClock()
    shown = Preview(PreviewSettings(), "kitchen", LABELS, MODEL, clock)

    def minutes(count: int) -> int:
        for number in range(count * 60 * RATE):
            clock.pass_by(1 / RATE)
            shown.frame(frame(number), [(face(1000 + number), emotion("happy", 0.8)) for _ in range(3)])
        gc.collect()
        # Its own: threads that other tests have left in this process take memory too.
        own = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/edge/preview/*")])
        return sum(trace.size for trace in own.statistics("filename"))

    tracemalloc.start()
    try:
        first = minutes(4)
        assert first > 50_000, "four minutes are kept"
        assert minutes(16) < first * 1.05 + 20_000
    finally:
        tracemalloc.stop()


def test_a_crowd_and_a_broken_score_do_not_stop_the_analysis():
    clock = ManualClock()
    shown = Preview(PreviewSettings(pictures=True), "kitchen", LABELS, MODEL, clock)
    crowd = [(face(track), emotion("happy", 0.5)) for track in range(100)]
    for wrong in (float("nan"), float("inf"), -1.0, 7.0):
        clock.pass_by(1)
        shown.frame(frame(1), [(face(1), emotion("happy", wrong)), *crowd])
    assert [sample[1][0][2] for sample in _heard(shown)] == [0, 100, 0, 100]
    assert {len(sample[1]) for sample in _heard(shown)} == {MOST_FACES}


def test_without_permission_no_byte_of_a_picture_leaves_and_no_frame_is_kept(preview: Callable[..., Preview], clock):
    answers = {}
    for allowed in (False, True):
        shown = preview(pictures=allowed)
        image = portrait()
        for turn in range(3):
            clock.ahead += 0.3
            shown.frame(frame(turn, image), FIVE)
            answers[allowed] = ask(shown, "/picture")
        request = f"GET /events HTTP/1.1\r\nHost: localhost:{port_of(shown)}\r\n\r\n".encode()
        with send(shown, request) as connection:
            said = connection.recv(1 << 16)
        paths = ("/", "/page.css", "/page.js", "/icon.svg", "/picture.jpg", "/image")
        everything = b"".join([said, *(ask(shown, path)[2] for path in paths)])
        assert b"\xff\xd8\xff" not in everything
        kept = weakref.ref(image)
        del image
        gc.collect()
        assert (kept() is not None) == allowed
    assert (answers[False][0], answers[False][2][:3] == b"\xff\xd8\xff") == (404, False)
    assert (answers[True][0], answers[True][2][:3] == b"\xff\xd8\xff") == (200, True)


def test_a_picture_is_the_newest_frame_smaller_and_with_its_faces(preview: Callable[..., Preview], clock):
    shown = preview(pictures=True)
    assert ask(shown, "/picture")[0] == 503
    image = cv2.resize(portrait(), (1280, 720))
    there = [
        (face(4, 380, 350, 260, roll=0.1), emotion("happy", 0.83)),
        (face(5, seen=False), emotion("悲しみ", 0.5)),
        (face(6), None),
    ]
    shown.frame(frame(0, image), there)
    status, headers, body = ask(shown, "/picture")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    shrunk = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    assert shrunk.shape == (360, 640, 3)
    expected = cv2.resize(image, (640, 360), interpolation=cv2.INTER_AREA)
    assert np.abs(shrunk.astype(int) - expected).mean() < 3
    faces = json.loads(headers["X-Faces"])
    assert faces[0] == [4, "happy", 83, True, 0.2969, 0.4861, 0.2031, 0.1]
    assert [each[:4] for each in faces[1:]] == [[5, "悲しみ", 50, False], [6, None, 0, True]]


def test_pictures_are_made_five_times_a_second_for_everybody_together_and_only_while_somebody_looks():
    clock = ManualClock()
    shown = Pictures(clock)
    image = portrait()
    shown.offer(frame(0, image), [])
    kept = weakref.ref(image)
    del image
    assert kept() is None
    assert shown.newest() is None
    made = set()
    for number in range(50):
        clock.pass_by(0.02)
        shown.offer(frame(number, np.full((60, 80, 3), 4 * number, np.uint8)), [])
        for _ in range(3):
            answer = shown.newest()
            assert answer is not None
            made.add(answer[0])
    assert len(made) == pictures.RATE
    # A camera that has gone is not shown as if it were there.
    clock.pass_by(pictures.WATCHED + 0.1)
    assert shown.newest() is None
    last = np.zeros((60, 80, 3), np.uint8)
    shown.offer(frame(99, last), [])
    kept = weakref.ref(last)
    del last
    assert kept() is not None
    clock.pass_by(pictures.WATCHED + 0.1)
    shown.offer(frame(100), [])
    assert kept() is None
