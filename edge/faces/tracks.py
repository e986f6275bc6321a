"""Which face is which: faces of one frame are matched to the places where the tracks were last seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge.config import TrackSettings
from edge.faces import overlap
from edge.types import Face, Frame, TrackedFace

# A fast face may leave its own square between two detections; then it is the one that is near and of like size.
NEAR, LIKE = 0.9, 1.6


@dataclass(slots=True)
class _Track:
    number: int
    face: Face
    seen_at: float
    seen: bool


class Tracker:
    """Names faces. A track lives as long as it was seen within `max_gap` seconds, and ends with its scene.

    Every face gets a track at once; whoever tells the world waits until its emotion has settled, so a false detection
    of one frame goes unheard.
    """

    def __init__(self, settings: TrackSettings) -> None:
        """Start without tracks.

        Args:
            settings: overlap and gap.
        """
        self._settings, self._next = settings, 1
        self._tracks: list[_Track] = []
        self._scene = 0

    def update(self, faces: Sequence[Face], frame: Frame) -> tuple[list[TrackedFace], list[int]]:
        """Take the detected faces of a frame.

        Args:
            faces: what the detector found in this frame.
            frame: gives time and scene; frames come in the order of their time.

        Returns:
            All living tracks with their last known places, and the numbers of those that have just ended.
        """
        ended = self._change_scene(frame)
        for track in self._tracks:
            track.seen = False
        free = list(faces)
        for track, face in _pairs(self._tracks, faces, self._settings.min_overlap):
            track.face, track.seen_at, track.seen = face, frame.time, True
            free = [other for other in free if other is not face]
        for face in free:
            self._tracks.append(_Track(self._next, face, frame.time, True))
            self._next += 1
        # After the matching: a face that is still there goes on, however long ago the last detection was.
        gone = [track.number for track in self._tracks if frame.time - track.seen_at > self._settings.max_gap]
        self._tracks = [track for track in self._tracks if track.number not in gone]
        return self._living(), ended + gone

    def coast(self, frame: Frame) -> tuple[list[TrackedFace], list[int]]:
        """Go through a frame in which nobody looked for faces: the places stay, and none is `seen`.

        Returns:
            As `update`.
        """
        ended = self._change_scene(frame)
        for track in self._tracks:
            track.seen = False
        return self._living(), ended

    def end(self) -> list[int]:
        """End all tracks: the source is through. Returns their numbers."""
        ended = [track.number for track in self._tracks]
        self._tracks = []
        return ended

    def _living(self) -> list[TrackedFace]:
        return [TrackedFace(track.number, track.face, track.seen) for track in self._tracks]

    def _change_scene(self, frame: Frame) -> list[int]:
        if frame.scene == self._scene:
            return []
        self._scene = frame.scene
        return self.end()


def _pairs(tracks: list[_Track], faces: Sequence[Face], min_overlap: float) -> list[tuple[_Track, Face]]:
    """Best pairs first: those that overlap, by overlap, then those that are only near, by distance.

    Greedy, not optimal: with the handful of faces in front of one camera the two differ only where squares overlap
    each other so far that no assignment is right.
    """
    ranked = []
    for track in tracks:
        for face in faces:
            common = overlap(track.face, face)
            larger, smaller = max(track.face.side, face.side), min(track.face.side, face.side)
            distance = math.hypot(track.face.x - face.x, track.face.y - face.y) / larger
            if common >= min_overlap and common > 0:
                ranked.append((1 + common, track, face))
            elif distance < NEAR and larger < LIKE * smaller:
                ranked.append((1 - distance, track, face))
    pairs: list[tuple[_Track, Face]] = []
    for _, track, face in sorted(ranked, key=lambda entry: -entry[0]):
        if all(track is not t and face is not f for t, f in pairs):
            pairs.append((track, face))
    return pairs
