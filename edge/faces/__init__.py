"""Frame -> faces, each as the canonical square, whichever detector finds them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.config import DetectorSettings
from edge.errors import DetectorError
from edge.places import model_folders, readable
from edge.types import Face

log = logging.getLogger(__name__)

# The first is the name under which edge-fetch stores it; the rest are other exports of the same network.
YUNET_FILES = ("face_detection_yunet_2023mar.onnx", "*yunet*.onnx")

# Squares of two people side by side share less.
SAME = 0.3
# Height over width up to which the width alone decides how far a frame is shrunk: what is higher would cost without end.
TALLEST = 4


class FaceDetector(Protocol):
    """Finds the faces of one frame. Not safe to share between threads: open one per thread."""

    @property
    def name(self) -> str:
        """Which detector with which weights, for logs and stats."""

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Find the faces of a frame.

        Args:
            image: uint8 (H, W, 3), BGR, of any size.

        Returns:
            Canonical squares in pixels of `image`, largest first.
        """


def open_detector(settings: DetectorSettings, live: bool = True) -> FaceDetector:
    """Build the detector that the settings ask for; `auto` takes yunet when its weights are there, else haar.

    Args:
        settings: `threads` 0 measures which number is fastest, in about 0.3 s.
        live: a replay takes one thread then, so that it gives the same faces every time.

    Raises:
        DetectorError: the weights are missing or are no YuNet, a runtime is missing, or OpenCV has no Haar cascades.
    """
    threads = settings.threads or (_measured(settings) if live else 1)
    detector = _open(settings, threads)
    log.debug("%s, %d threads", detector.name, threads)
    if settings.kind == "auto" and detector.name == "haar":
        log.info("faces are found by haar; yunet misses far fewer of them: edge-fetch yunet")
    if not settings.regions:
        return detector
    from edge.faces.regions import InRegions

    return InRegions(detector, settings.regions)


def _open(settings: DetectorSettings, threads: int) -> FaceDetector:
    weights = None if settings.kind == "haar" else find_weights(settings.weights)
    if settings.kind == "yunet" and weights is None:
        raise DetectorError("YuNet's weights are not on this machine; run `edge-fetch yunet`, or name a file as detector.weights")
    # Imported here so that a board never loads the detector it does not use.
    if weights is not None:
        from edge.faces.yunet import YuNet, open_network

        return YuNet(weights, open_network(weights, settings.runtime, threads), settings.width, settings.min_score)
    from edge.faces.haar import Haar

    return Haar(settings.width, threads)


def _measured(settings: DetectorSettings) -> int:
    """The number of threads with which an empty picture of the usual shape is looked through fastest on this board."""
    from edge.faces.threads import fastest

    picture = np.full((settings.width * 3 // 4, settings.width, 3), 127, np.uint8)

    def prepare(threads: int) -> Callable[[], object]:
        return partial(_open(settings, threads).detect, picture)

    return fastest(prepare)


def find_weights(given: str | None) -> Path | None:
    """YuNet's weights: the given file, else the first that is found in the usual folders.

    Raises:
        DetectorError: a file was given and is not there.
    """
    if given is not None:
        path = Path(given).expanduser()
        # Not Path.is_file: a folder that may not be looked into raises there.
        if not os.path.isfile(path):  # noqa: PTH113
            raise DetectorError(
                f"{path}: no such file; detector.weights should name YuNet's .onnx, where this user may see it (a service does "
                "not see /home)"
            )
        return path
    for folder in filter(readable, model_folders()):
        for pattern in YUNET_FILES:
            found = sorted(path for path in folder.glob(pattern) if path.is_file())
            if found:
                return found[0]
    return None


def shrink(image: NDArray[np.uint8], width: int) -> tuple[NDArray[np.uint8], float]:
    """Make a frame no wider than `width`, and no higher than four times that.

    Returns:
        The frame and the factor that takes its coordinates back to the full frame.
    """
    height, full = image.shape[:2]
    factor = max(full / width, height / (TALLEST * width))
    if factor <= 1:
        return image, 1.0
    size = (max(1, round(full / factor)), max(1, round(height / factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), factor


def overlap(a: Face, b: Face) -> float:
    """Intersection over union of two squares, roll left aside: 0..1."""
    reach = (a.side + b.side) / 2
    wide = min(reach - abs(a.x - b.x), a.side, b.side)
    high = min(reach - abs(a.y - b.y), a.side, b.side)
    if wide <= 0 or high <= 0:
        return 0.0
    shared = wide * high
    return shared / (a.side**2 + b.side**2 - shared)


def moved(face: Face, x: float, y: float) -> Face:
    """The same face, with its landmarks, around another centre."""
    shift = np.array([x - face.x, y - face.y], np.float32)
    return replace(face, x=x, y=y, landmarks=None if face.landmarks is None else face.landmarks + shift)


def distinct(faces: Iterable[Face]) -> list[Face]:
    """Largest first, and each face once: two finds that were looked at again may turn out to be the same face."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.side):
        if all(overlap(face, other) < SAME for other in kept):
            kept.append(face)
    return kept
