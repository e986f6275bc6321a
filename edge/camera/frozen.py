"""A camera that hangs may go on giving the same picture for ever; a real sensor's noise never does that."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

# Every so-manieth row is hashed first: 0.02 ms at 640x480, against 0.2 ms for the whole picture.
ROWS = 16
# Between two openings for the sake of the same picture it may take twice as long each time, up to this, seconds.
LONGEST_PATIENCE = 600.0


class Sameness:
    """How long the picture has not changed in a single bit, and whether opening the camera again is worth a try.

    It knows nothing of openings: the same picture before and after one is the same picture.

    Attributes:
        frozen: whether it has been the same for `limit` seconds.
    """

    def __init__(self, limit: float) -> None:
        """Args: limit: seconds of the same picture that make it a frozen one; 0 is never."""
        self._limit = limit
        self._rows = self._whole = -1
        self._since = 0.0
        self._lively: float | None = None
        self._patience, self._due = limit, 0.0
        self.frozen = False

    def look(self, image: NDArray[np.uint8], now: float) -> None:
        """Compare a picture with the last one.

        Args:
            image: uint8, contiguous.
            now: on the monotonic clock, seconds.
        """
        if not self._limit:
            return
        if self._changed(image):
            self._since, self.frozen = now, False
            self._lively = now if self._lively is None else self._lively
            if now - self._lively > self._limit:
                # It moves by itself again, so the next time is a new fault.
                self._patience, self._due = self._limit, 0.0
        elif now - self._since >= self._limit:
            self.frozen, self._lively = True, None

    def worth_opening_again(self, now: float) -> bool:
        """Whether the camera should be opened again now; counts as done when it is.

        A camera that shows a still picture again right after it was opened is tried more and more rarely: some network
        cameras send nothing new of an empty room, and they must not be closed and opened all night.
        """
        if not self.frozen or now < self._due:
            return False
        self._patience = min(2 * self._patience, LONGEST_PATIENCE)
        self._due = now + self._patience
        return True

    def _changed(self, image: NDArray[np.uint8]) -> bool:
        rows = zlib.crc32(np.ascontiguousarray(image[::ROWS]).data)
        same, self._rows = rows == self._rows, rows
        if not same:
            # Not known, and not needed as long as the rows differ: a moving picture is never hashed as a whole.
            self._whole = -1
            return True
        whole = zlib.crc32(image.data)
        same, self._whole = whole == self._whole, whole
        return not same
