"""How often to look for faces: as often as the board can without falling behind its camera."""

from __future__ import annotations

import math

from edge.types import Frame

# Share of a frame's time that the analysis may take; the rest is for the camera, the delivery and everyone else.
SHARE = 0.8
# Where following alone fills that, detection still gets this share of what following takes: frames are lost either way.
LEAST = 0.25
# Weight of the newest of costs and periods: one slow detection is noise, five are a board that got warm.
NEWEST = 0.2
# A new face waits no longer than this for its first detection, seconds, nor a lost one longer than half the gap it is given.
LONGEST = 0.5
# A camera that was away tells nothing of its rate, seconds.
PERIOD = 1.0


class Pace:
    """Decides for each frame whether to detect. A live camera's frames are followed cheaply while newer ones wait, so
    that it is the newest that is searched for faces; a replay has all the time there is.
    """

    def __init__(self, every: int, live: bool, max_gap: float = 2 * LONGEST) -> None:
        """Set the rule.

        Args:
            every: detect on every so-manieth frame; 0 adapts to the load where the source is live, and is 1 where it is not.
            live: whether frames go by unread.
            max_gap: of the tracks, seconds.
        """
        self._adapts = every == 0 and live
        self._every = max(1, every)
        self._longest = min(max_gap / 2, LONGEST)
        self._since = 0
        self._last: Frame | None = None
        self._looked_at = -math.inf
        self._period = self._detection = self._rest = 0.0

    @property
    def every(self) -> int:
        """The number of frames to a detection at this moment."""
        return self._every

    def due(self, frame: Frame, waiting: int = 0, wanted: bool = False) -> bool:
        """Whether this frame is one to search.

        Args:
            frame: frames come in the order of their time.
            waiting: how many newer ones there are already.
            wanted: whether there is a reason not to wait for the next turn (`Tracker.uneasy`).
        """
        last, self._last = self._last, frame
        self._since += 1
        if last is None or frame.scene != last.scene:
            due = True
        elif self._adapts:
            self._observe(frame, last)
            late = frame.time - self._looked_at >= self._longest
            due = late or (waiting == 0 and (wanted or self._since >= self._every))
        else:
            due = wanted or self._since >= self._every
        if due:
            self._since, self._looked_at = 0, frame.time
        return due

    def spent(self, detection: float | None, whole: float) -> None:
        """What a frame has cost.

        Args:
            detection: seconds of its detection, None when it was only followed.
            whole: seconds of all its work, detection included.
        """
        if not self._adapts:
            return
        if detection is not None:
            self._detection = _blend(self._detection, detection)
        self._rest = _blend(self._rest, whole - (detection or 0.0))
        free = max(SHARE * self._period - self._rest, LEAST * self._rest)
        most = max(1, math.floor(self._longest / self._period)) if self._period else 1
        self._every = min(most, max(1, math.ceil(self._detection / free))) if free else 1

    def reset(self) -> None:
        """The next frame is to be searched: what came before it is gone."""
        self._last = None

    def _observe(self, frame: Frame, last: Frame) -> None:
        # Frames that were dropped between the two have their numbers too.
        period = (frame.time - last.time) / max(1, frame.number - last.number)
        if 0 < period <= PERIOD:
            self._period = _blend(self._period, period)


def _blend(average: float, newest: float) -> float:
    return average + NEWEST * (newest - average) if average else newest
