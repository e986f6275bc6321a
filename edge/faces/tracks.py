"""Which face is which: faces of one frame are matched to the places where the tracks were last seen."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.config import Region, TrackSettings
from edge.faces import SAME, overlap
from edge.faces.follow import Likeness, find, remember
from edge.faces.regions import inside
from edge.types import Face, Frame, TrackedFace

# A fast face may leave its own square between two detections; then it is the one that is near and of like size.
NEAR, LIKE = 0.9, 1.6


@dataclass(slots=True)
class _Track:
    """A face and its past.

    Attributes:
        sure: detected more than once. A false detection is rarely repeated, but its background stands still and would be
            followed for ever.
        held: found by the last detection; what the detector does not take for a face any more is not followed.
        lost: held, but not found when it was followed.
        likeness: taken when it is first followed after a detection.
    """

    number: int
    face: Face
    seen_at: float
    seen: bool = True
    sure: bool = False
    held: bool = True
    lost: bool = False
    likeness: Likeness | None = None


class Tracker:
    """Names faces. A track lives as long as it was seen within `max_gap` seconds, and ends with its scene.

    Every face gets a track at once; whoever tells the world waits until its emotion has settled, so a false detection
    of one frame goes unheard.
    """

    def __init__(self, settings: TrackSettings, numbers: Iterator[int] | None = None, regions: Sequence[Region] = ()) -> None:
        """Start without tracks.

        Args:
            settings: overlap and gap.
            numbers: where new tracks get theirs; without it, from 1. Trackers that share it never give one twice.
            regions: a face is followed only while its centre lies in one of them; none is everywhere.
        """
        self._settings, self._numbers = settings, numbers or itertools.count(1)
        self._regions = tuple(regions)
        self._tracks: list[_Track] = []
        self._scene = 0
        self._searched: NDArray[np.uint8] | None = None

    def update(self, faces: Sequence[Face], frame: Frame) -> tuple[list[TrackedFace], list[int]]:
        """Take the detected faces of a frame.

        Args:
            faces: what the detector found in this frame.
            frame: gives time and scene; frames come in the order of their time.

        Returns:
            All living tracks with their last known places, and the numbers of those that have just ended.
        """
        ended = self._change_scene(frame)
        self._searched = frame.image
        for track in self._tracks:
            track.seen = track.held = track.lost = False
            track.likeness = None
        free = list(faces)
        for track, face in _pairs(self._tracks, faces, self._settings.min_overlap):
            track.face, track.seen_at, track.seen, track.held, track.sure = face, frame.time, True, True, True
            free = [other for other in free if other is not face]
        for face in free:
            self._tracks.append(_Track(next(self._numbers), face, frame.time))
        # After the matching: a face that is still there goes on, however long ago the last detection was.
        gone = [track.number for track in self._tracks if frame.time - track.seen_at > self._settings.max_gap]
        self._tracks = [track for track in self._tracks if track.number not in gone]
        return self._living(), ended + gone

    def follow(self, frame: Frame) -> tuple[list[TrackedFace], list[int]]:
        """Go through a frame in which nobody looks for faces: the known ones are sought around their last places.

        A face is `seen` when it is surely there and two detections have found it; one that is covered or has left keeps its
        last place. No track ends here but with its scene: that it is gone is for the detector to say.

        Returns:
            As `update`.
        """
        ended = self._change_scene(frame)
        followed: list[tuple[float, _Track]] = []
        for track in self._tracks:
            track.seen = False
            if not track.held:
                continue
            found = self._find(track, frame.image)
            if found is not None and self._regions and not inside(found[0], self._regions, frame.image):
                found = None
            track.lost = found is None
            if found is not None:
                track.face = found[0]
                followed.append((found[1], track))
        for correlation, track in followed:
            # Of two that have run into one another the better match goes on.
            rivals = (other for other in followed if other[1] is not track and overlap(other[1].face, track.face) >= SAME)
            if track.sure and all(correlation > rival[0] for rival in rivals):
                track.seen, track.seen_at = True, frame.time
        return self._living(), ended

    @property
    def uneasy(self) -> bool:
        """Whether a detection is wanted soon: a face is new and may be none, or one was lost while it was followed.

        It is wanted once: what the detector does not find again is no longer followed.
        """
        return any(track.held and (track.lost or not track.sure) for track in self._tracks)

    def end(self) -> list[int]:
        """End all tracks: the source is through. Returns their numbers."""
        ended = [track.number for track in self._tracks]
        self._tracks = []
        return ended

    def _find(self, track: _Track, image: NDArray[np.uint8]) -> tuple[Face, float] | None:
        if track.likeness is None and self._searched is not None:
            track.likeness = remember(self._searched, track.face)
        return None if track.likeness is None else find(image, track.likeness, track.face)

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
