"""Which moments of a face become events."""

from __future__ import annotations

import numpy as np

from edge.delivery import Announcer, EventDraft
from edge.types import Emotion, Face, Frame, TrackedFace

LABELS = ("happy", "sad")


def frame(time: float, at: float | None = None) -> Frame:
    return Frame(np.zeros((480, 640, 3), np.uint8), 0, time, time if at is None else at)


def face(track: int, x: float = 320.0) -> TrackedFace:
    return TrackedFace(track, Face(x=x, y=240.0, side=96.0), seen=True)


def emotion(label: str, confidence: float = 0.8) -> Emotion:
    scores = np.array([confidence, 1 - confidence] if label != "sad" else [1 - confidence, confidence], np.float32)
    return Emotion(label, confidence, scores, since=1.0)


def kinds(drafts: list[EventDraft]) -> list[tuple[str, int, str]]:
    return [(draft.type, draft.track, draft.emotion) for draft in drafts]


def announcer(interval: float = 10.0) -> Announcer:
    return Announcer(LABELS, "m 1 ab", interval, "k3f9-{}".format)


def test_a_track_is_new_with_its_first_emotion_and_not_before() -> None:
    one = announcer()
    assert one.observe(frame(0.0), [(face(1), None)]) == []
    drafts = one.observe(frame(1.0), [(face(1), emotion("happy"))])
    assert kinds(drafts) == [("new", 1, "happy")]
    assert drafts[0].box == ((320 - 48) / 640, (240 - 48) / 480, 96 / 640, 96 / 480)
    assert drafts[0].scores == {"happy": float(np.float32(0.8)), "sad": float(np.float32(0.2))}


def test_an_update_follows_a_change_of_emotion_and_nothing_else() -> None:
    one = announcer()
    one.observe(frame(0.0), [(face(1), emotion("happy"))])
    assert one.observe(frame(1.0), [(face(1), emotion("happy", 0.9))]) == []
    assert kinds(one.observe(frame(2.0), [(face(1), emotion("sad"))])) == [("update", 1, "sad")]
    assert kinds(one.observe(frame(3.0), [(face(1), emotion("uncertain", 0.3))])) == [("update", 1, "uncertain")]


def test_the_interval_counts_frame_time_from_the_last_event() -> None:
    one = announcer(interval=10.0)
    one.observe(frame(0.0), [(face(1), emotion("happy"))])
    assert kinds(one.observe(frame(4.0), [(face(1), emotion("sad"))])) == [("update", 1, "sad")]
    assert one.observe(frame(13.9), [(face(1), emotion("sad"))]) == []
    assert kinds(one.observe(frame(14.0), [(face(1), emotion("sad"))])) == [("update", 1, "sad")]


def test_a_step_of_the_wall_clock_makes_no_event() -> None:
    one = announcer(interval=10.0)
    one.observe(frame(0.0, at=5000.0), [(face(1), emotion("happy"))])
    assert one.observe(frame(1.0, at=8600.0), [(face(1), emotion("happy"))]) == []
    assert one.observe(frame(2.0, at=1400.0), [(face(1), emotion("happy"))]) == []
    assert one.observe(frame(10.0, at=1408.0), [(face(1), emotion("happy"))])[0].at == 1408.0


def test_a_lost_track_ends_with_its_last_emotion_and_only_if_it_was_new() -> None:
    one = announcer()
    one.observe(frame(0.0), [(face(1), emotion("happy")), (face(2), None)])
    one.observe(frame(1.0), [(face(1, x=100.0), emotion("happy", 0.95)), (face(2), None)])
    (end,) = one.observe(frame(2.0), [], ended=[1, 2])
    assert (end.type, end.track, end.at, end.confidence) == ("end", 1, 2.0, 0.95)
    assert end.box[0] == (100 - 48) / 640
    assert one.observe(frame(3.0), [], ended=[1]) == []


def test_the_end_of_the_source_ends_every_track() -> None:
    one = announcer()
    one.observe(frame(5.0), [(face(1), emotion("happy")), (face(2), emotion("sad"))])
    assert kinds(one.end_all()) == [("end", 1, "happy"), ("end", 2, "sad")]
    assert one.end_all() == []


def test_the_state_tells_what_the_events_have_told() -> None:
    one = announcer()
    assert (one.state().faces, one.state().emotion, one.state().confidence) == (0, None, None)
    one.observe(frame(0.0), [(face(1), emotion("happy", 0.6)), (face(2), emotion("sad", 0.9)), (face(3), None)])
    first = one.state()
    assert first.faces == 2
    assert (first.emotion, first.confidence) == ("sad", 0.9), "of equally many faces the surer one counts"
    assert [track.track for track in first.tracks] == ["k3f9-1", "k3f9-2"]
    one.observe(frame(1.0), [(face(1), emotion("happy", 0.7)), (face(2), emotion("sad", 0.9))])
    assert one.state() == first, "no event, no change"
    one.observe(frame(2.0), [(face(3), emotion("happy"))])
    assert one.state().emotion == "happy"


def test_the_same_frames_give_the_same_events() -> None:
    def run() -> list[EventDraft]:
        one, made = announcer(), []
        for i in range(100):
            label = "happy" if i % 7 else "sad"
            made += one.observe(frame(i / 10), [(face(i // 30 + 1), emotion(label))], ended=[i // 30] if i % 30 == 0 else [])
        return made + one.end_all()

    assert run() == run()
    assert len(run()) > 20
