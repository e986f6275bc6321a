"""The nouns, in the order in which the data flows: Frame -> Face -> Crop -> Scores -> Emotion -> Event.

`Event` is the last of them and lives with its wire format in `edge.delivery.events`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A face cut out at its native resolution: uint8 (S, S, 3), BGR.
Crop = NDArray[np.uint8]

# Calibrated class probabilities: float32 (classes,), in the order of the manifest's labels.
Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a source.

    Attributes:
        image: uint8 (H, W, 3), BGR.
        number: position in the source, from 0; gaps are frames that were dropped.
        time: seconds for intervals. Live: the monotonic clock at capture. Replay: the presentation time.
        at: Unix time in seconds for stamps. Live: the wall clock at capture. Replay: the presentation time.
        scene: rises when what follows has nothing to do with what came before (the next picture of a folder): every
            track ends there.
    """

    image: NDArray[np.uint8]
    number: int
    time: float
    at: float
    scene: int = 0


@dataclass(frozen=True, slots=True)
class Face:
    """A face as the canonical square: the part of the picture that FER2013 would have cut out.

    Every detector turns its own box into this square, so that what follows never asks which detector it was.

    Attributes:
        x: centre, pixels from the left.
        y: centre, pixels from the top.
        side: pixels.
        roll: how far the head leans, in radians, clockwise in the picture; 0 where the detector cannot tell.
        score: the detector's confidence, 0..1.
        landmarks: float32 (5, 2) pixels: right eye, left eye, nose, right and left mouth corner; None without them.
    """

    x: float
    y: float
    side: float
    roll: float = 0.0
    score: float = 1.0
    landmarks: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class TrackedFace:
    """A face with the name of its track: the same number in every frame in which it is the same face.

    Attributes:
        track: number of the track, from 1, never used twice in one run.
        face: where the face is; the last known place when it was not seen in this frame.
        seen: whether the detector saw it in this very frame.
    """

    track: int
    face: Face
    seen: bool


@dataclass(frozen=True, slots=True)
class Emotion:
    """What a track has shown, smoothed over time.

    Attributes:
        label: one of the manifest's labels, or `uncertain`.
        confidence: the smoothed score of the label; of the largest when uncertain.
        scores: smoothed scores, float32 (classes,).
        since: Unix time in seconds at which this label began.
    """

    label: str
    confidence: float
    scores: Scores
    since: float


UNCERTAIN = "uncertain"
