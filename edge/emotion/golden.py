"""Crops that are made by a rule of whole numbers, so that every machine makes the same bytes without any file.

A manifest names some of them with the scores that the converting machine got. A device computes them again before it
reads a frame: whatever differs between the two machines (runtime, kernels, preprocessing) shows there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.emotion.manifest import InputSpec
from edge.errors import ModelError

BLOBS = 6


def golden_crop(rule: str, spec: InputSpec) -> NDArray[np.uint8]:
    """The crop of a rule.

    Args:
        rule: `v1:K`: K seeds a linear congruential generator, which lays ellipses of one brightness over each other.
        spec: gives the size.

    Returns:
        uint8 (height, width, channels), before mean and scale.

    Raises:
        ModelError: the rule is unknown to this version.
    """
    version, _, number = rule.partition(":")
    if version != "v1" or not number.isdecimal():
        raise ModelError(f"golden rule {rule!r} is unknown to this version; update emotion-edge on this device")
    draw = _Draw(int(number))
    rows = np.arange(spec.height, dtype=np.int64)[:, None] * 256 // spec.height
    columns = np.arange(spec.width, dtype=np.int64)[None, :] * 256 // spec.width
    planes = []
    for _ in range(spec.channels):
        plane = np.full((spec.height, spec.width), draw.below(256), np.int64)
        plane += (rows * (draw.below(256) - 128) + columns * (draw.below(256) - 128)) // 256
        for _ in range(BLOBS):
            y, x, high, wide = draw.below(256), draw.below(256), 12 + draw.below(80), 12 + draw.below(80)
            inside = ((rows - y) * wide) ** 2 + ((columns - x) * high) ** 2 <= (high * wide) ** 2
            plane = np.where(inside, (plane + 3 * draw.below(256)) // 4, plane)
        planes.append(np.clip(plane, 0, 255).astype(np.uint8))
    return np.stack(planes, axis=-1)


class _Draw:
    """Knuth's MMIX generator, high bits only: exact in Python's integers everywhere."""

    def __init__(self, seed: int) -> None:
        self._state = seed
        for _ in range(4):
            self.below(2)

    def below(self, limit: int) -> int:
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self._state >> 33) % limit
