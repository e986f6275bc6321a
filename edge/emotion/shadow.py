"""A second model beside the first, on the same crops: how often do the two agree, and how long does each take?

The second one's answers go nowhere. It looks at whole tracks, chosen by their number, so that a share of 0.2 is a fifth of
the people and not a fifth of the pictures of everybody, which would be much alike.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections import deque
from collections.abc import Sequence

from edge.emotion.classify import Classifier
from edge.errors import ModelError, first_line
from edge.types import Crop, Scores

log = logging.getLogger(__name__)

# Looks whose times are remembered: enough for a median, and bounded.
REMEMBERED = 1000
# Consecutive multiples of the golden ratio are spread evenly over 0..1 (Knuth, The Art of Computer Programming, 6.4).
GOLDEN = 0.6180339887498949


class ShadowModel:
    """The second model and its score against the first.

    Args:
        classifier: the second model; it must have the labels of the first.
        labels: those of the first.
        share: of the tracks, 0..1.

    Raises:
        ModelError: the two have other labels, so they cannot be compared.
    """

    def __init__(self, classifier: Classifier, labels: Sequence[str], share: float) -> None:
        if set(classifier.manifest.labels) != set(labels):
            raise ModelError(
                f"{classifier.manifest.identity} knows {', '.join(classifier.manifest.labels)}, the first model "
                f"{', '.join(labels)}; a shadow must have the same labels"
            )
        self._classifier, self._share = classifier, share
        self._order = [classifier.manifest.labels.index(label) for label in labels]
        self._times: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)
        self._looks = self._agreed = 0
        self._broken = False

    @property
    def identity(self) -> str:
        """The second model's identity."""
        return self._classifier.manifest.identity

    def wants(self, track: int) -> bool:
        """Whether the second model looks at this track; the same answer every time."""
        return not self._broken and (track * GOLDEN) % 1.0 < self._share

    def look(self, crops: Sequence[Crop], scores: Scores, seconds: float) -> None:
        """Let the second model look at what the first one saw.

        Args:
            crops: the views of one face.
            scores: what the first said, float32 (classes,).
            seconds: how long it took.
        """
        began = time.perf_counter()
        try:
            second = self._classifier.look(crops)[self._order]
        except Exception as error:  # noqa: BLE001  whatever the second model does, the first one must go on
            self._broken = True
            log.warning("the shadow model %s has failed and is switched off (%s)", self.identity, first_line(error))
            return
        self._times.append((seconds, time.perf_counter() - began))
        self._looks += 1
        self._agreed += int(scores.argmax()) == int(second.argmax())

    @property
    def looks(self) -> int:
        """Faces that both have looked at."""
        return self._looks

    @property
    def agreement(self) -> float | None:
        """Share of them with the same most likely label; None before the first."""
        return round(self._agreed / self._looks, 4) if self._looks else None

    @property
    def milliseconds(self) -> tuple[float | None, float | None]:
        """Median time of one look: by the first, and by the second."""
        times = list(self._times)
        if not times:
            return None, None
        first, second = (round(1000 * statistics.median(column), 3) for column in zip(*times, strict=True))
        return first, second
