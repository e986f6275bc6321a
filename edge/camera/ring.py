"""Between the camera's thread and the analysis: a bounded queue of frames."""

from __future__ import annotations

import threading
from collections import deque

from edge.types import Frame

# Live frames are wanted young, not many: one in work, one waiting, and one for the scheduler's jitter.
CAPACITY = 3


class Ring:
    """A bounded queue of frames between two threads.

    Attributes:
        dropped: frames that `push` threw out because nobody took them in time.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._frames: deque[Frame] = deque()
        self._capacity = capacity
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0

    def push(self, frame: Frame) -> None:
        """Add a live frame; when full, the oldest goes and is counted."""
        with self._changed:
            if self._closed:
                return
            if len(self._frames) == self._capacity:
                self._frames.popleft()
                self.dropped += 1
            self._frames.append(frame)
            self._changed.notify_all()

    def offer(self, frame: Frame, timeout: float) -> bool:
        """Add a replay's frame as soon as there is room; False when there was none within `timeout` seconds, or never will be."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._frames) < self._capacity, timeout)
            if self._closed or len(self._frames) >= self._capacity:
                return False
            self._frames.append(frame)
            self._changed.notify_all()
            return True

    def get(self, timeout: float) -> Frame | None:
        """The oldest frame, or None when there is none within `timeout` seconds or the ring is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._frames), timeout)
            frame = self._frames.popleft() if self._frames else None
            self._changed.notify_all()
            return frame

    def __len__(self) -> int:
        with self._changed:
            return len(self._frames)

    def close(self) -> None:
        """No more frames will come; those inside can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """Closed and taken to the last frame."""
        with self._changed:
            return self._closed and not self._frames
