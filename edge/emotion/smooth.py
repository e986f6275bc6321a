"""Scores over time -> one steady emotion: exponential average, hysteresis, minimum dwell."""

from __future__ import annotations

import math

import numpy as np

from edge.config import EmotionSettings
from edge.types import UNCERTAIN, Emotion, Scores


class Smoother:
    """The emotion of one track.

    A label is taken up when it has been the leader for `dwell` seconds, and has led the present label by `hysteresis`
    all that time. Before the first label has dwelt there is no emotion at all.
    """

    def __init__(self, labels: tuple[str, ...], settings: EmotionSettings) -> None:
        self._labels, self._settings = labels, settings
        self._average: Scores | None = None
        self._time = 0.0
        self._label: str | None = None
        self._since = 0.0
        self._candidate: tuple[str, float, float] | None = None  # label, time and wall time at which it took the lead

    def update(self, scores: Scores, time: float, at: float) -> Emotion | None:
        """Take in one frame's scores.

        Args:
            scores: calibrated probabilities, float32 (classes,).
            time: the frame's time in seconds, never going back.
            at: the frame's Unix time, for the stamp `since` alone.

        Returns:
            The present emotion, or None before the first one.
        """
        average = self._blend(scores, time)
        leader = self._leader(average)
        if leader == self._label:
            self._candidate = None
        elif self._candidate is None or self._candidate[0] != leader:
            self._candidate = (leader, time, at)
        if self._candidate is not None and time - self._candidate[1] >= self._settings.dwell:
            self._label, _, self._since = self._candidate
            self._candidate = None
        if self._label is None:
            return None
        best = int(average.argmax()) if self._label == UNCERTAIN else self._labels.index(self._label)
        return Emotion(self._label, float(average[best]), average, self._since)

    def _blend(self, scores: Scores, time: float) -> Scores:
        if self._average is None or self._settings.smoothing == 0:
            self._average = np.asarray(scores, np.float32)
        else:
            # The weight of the past falls with time, not with frames, so that the result does not depend on the rate.
            keep = np.float32(math.exp(-max(time - self._time, 0.0) / self._settings.smoothing))
            self._average = np.asarray(keep * self._average + (1 - keep) * scores, np.float32)
        self._time = time
        return self._average

    def _leader(self, average: Scores) -> str:
        best = int(average.argmax())
        if self._label is not None and self._label != UNCERTAIN:
            present = float(average[self._labels.index(self._label)])
            # Half the margin below the threshold before a word is taken back: else it would flicker at the threshold.
            if present >= self._settings.threshold - self._settings.hysteresis / 2:
                clear = float(average[best]) - present >= self._settings.hysteresis
                return self._labels[best] if clear and average[best] >= self._settings.threshold else self._label
        return self._labels[best] if average[best] >= self._settings.threshold else UNCERTAIN
