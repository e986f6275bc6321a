"""What live sources have in common: OpenCV's capture, stamped by the clocks at the moment a frame arrives."""

from __future__ import annotations

import time

import cv2

from edge.camera.geometry import refuse_giants, to_bgr
from edge.errors import CameraError
from edge.types import Frame


class LiveVideo:
    """An open `cv2.VideoCapture` whose frames go by while nobody reads them."""

    live = True

    def __init__(self, capture: cv2.VideoCapture, name: str, asked: tuple[int, int, float] | None = None) -> None:
        """Take over an opened capture.

        Args:
            capture: opened; closed here, also when this fails.
            name: what messages call the source; no passwords.
            asked: width, height and rate that were asked of it; told beside the real ones where they differ.

        Raises:
            CameraError: it gives no frame, or gigantic ones.
        """
        self._capture, self._name, self._number = capture, name, 0
        try:
            refuse_giants(name, capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
            height, width = self.read().image.shape[:2]
        except CameraError:
            self.close()
            raise
        rate = capture.get(cv2.CAP_PROP_FPS)
        # Streams without a rate of their own tell their time base instead, such as 90000.
        self._description = f"{name}, {width}x{height}" + (f" at {rate:g} frames/s" if 0 < rate <= 1000 else "")
        if asked is not None and ((width, height) != asked[:2] or (0 < rate <= 1000 and abs(rate - asked[2]) > 0.5)):
            self._description += f" ({asked[0]}x{asked[1]} at {asked[2]:g} were asked for)"

    def read(self) -> Frame:
        try:
            good, image = self._capture.read()
        except cv2.error:
            good, image = False, None
        if not good or image is None:
            raise CameraError(f"{self._name} gives no frames; check its cable, power and whether another program holds it")
        frame = Frame(to_bgr(image), self._number, time.monotonic(), time.time())
        self._number += 1
        return frame

    def describe(self) -> str:
        return self._description

    def kill(self) -> None:
        """Nothing can be done from here: OpenCV's own timeouts end a read, see `edge.__init__` and `stream`."""

    def close(self) -> None:
        self._capture.release()
