"""Tracked faces and their emotions -> events. No I/O and no clock: the same frames always give the same events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge import __version__
from edge.clock import rfc3339
from edge.delivery.events import Box, EventDraft, EventType, State, TrackState, rounded
from edge.types import Emotion, Face, Frame, TrackedFace


@dataclass(slots=True)
class _Track:
    """A face that has had its `new`: how it is now, what was told last, and at which frame time."""

    emotion: Emotion
    box: Box
    told: EventDraft
    told_at: float


class Announcer:
    """Decides what is worth an event.

    Args:
        labels: the model's classes, in the order of the scores.
        model: the model's identity, as events carry it.
        update_interval: an unchanged emotion is told again after this long, in seconds of `Frame.time`.
        track_name: number of a track in this run -> its name on the wire (`Delivery.track_name`).
    """

    def __init__(self, labels: Sequence[str], model: str, update_interval: float, track_name: Callable[[int], str]) -> None:
        self._labels, self._model, self._interval, self._name = tuple(labels), model, update_interval, track_name
        self._tracks: dict[int, _Track] = {}
        self._last_at = 0.0

    def observe(
        self, frame: Frame, faces: Sequence[tuple[TrackedFace, Emotion | None]], ended: Sequence[int] = ()
    ) -> list[EventDraft]:
        """Take one frame.

        Args:
            frame: gives the stamp (`at`), the interval's clock (`time`) and the size that boxes are fractions of.
            faces: every live track; None for a track whose first emotion is not steady yet.
            ended: numbers of the tracks that were lost.

        Returns:
            What happened, in order: ends first, then the faces as they were given.
        """
        self._last_at = frame.at
        drafts = self._end(ended)
        height, width = frame.image.shape[:2]
        for tracked, emotion in faces:
            if emotion is None:
                continue
            box, known = _box(tracked.face, width, height), self._tracks.get(tracked.track)
            kind: EventType = "update"
            if known is None:
                kind = "new"
            elif emotion.label == known.told.emotion and frame.time - known.told_at < self._interval:
                known.emotion, known.box = emotion, box
                continue
            draft = self._draft(kind, tracked.track, emotion, box)
            self._tracks[tracked.track] = _Track(emotion, box, draft, frame.time)
            drafts.append(draft)
        return drafts

    def end_all(self) -> list[EventDraft]:
        """The source is through, or gone: end every track, stamped with the last frame."""
        return self._end(tuple(self._tracks))

    def state(self) -> State:
        """Who is there, as the events so far have told it: it changes only when there was an event."""
        tracks = tuple(
            TrackState(self._name(number), track.told.emotion, rounded(track.told.confidence), rfc3339(track.told.since))
            for number, track in sorted(self._tracks.items())
        )
        emotion = _dominant(tracks)
        confidence = max((track.confidence for track in tracks if track.emotion == emotion), default=None)
        return State(1, len(tracks), emotion, tracks, self._model, __version__, confidence=confidence)

    def _end(self, numbers: Sequence[int]) -> list[EventDraft]:
        ended = [(number, self._tracks.pop(number)) for number in numbers if number in self._tracks]
        return [self._draft("end", number, track.emotion, track.box) for number, track in ended]

    def _draft(self, kind: EventType, track: int, emotion: Emotion, box: Box) -> EventDraft:
        scores = dict(zip(self._labels, map(float, emotion.scores), strict=True))
        return EventDraft(
            kind, track, emotion.label, float(emotion.confidence), scores, box, emotion.since, self._last_at, self._model
        )


def _box(face: Face, width: int, height: int) -> Box:
    left, top = face.x - face.side / 2, face.y - face.side / 2
    return (left / width, top / height, face.side / width, face.side / height)


def _dominant(tracks: Sequence[TrackState]) -> str | None:
    """The emotion of most faces; of equals the surer one, then the first by name, so that replays agree."""
    faces, confidence = Counter[str](), Counter[str]()
    for track in tracks:
        faces[track.emotion] += 1
        confidence[track.emotion] += track.confidence  # type: ignore[assignment]  # Counter is typed for whole numbers
    return min(faces, key=lambda label: (-faces[label], -confidence[label], label), default=None)
