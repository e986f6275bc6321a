"""YuNet's network on ONNX Runtime, which needs less than half the time of OpenCV's DNN; the same faces as FaceDetectorYN."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError
from edge.faces.onnx_size import resized
from edge.runtime.onnx import OnnxRuntime

# One prediction for every cell of so many pixels; sides of the input are multiples of the largest.
STRIDES = (8, 16, 32)
OUTPUTS = tuple(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES)
VALUES = (1, 1, 4, 10)
# The frame's size and the second look's, and room for a stream that changes its size. A session of 320x192 takes 5 MB.
SESSIONS = 4
# The size at which a file has to prove itself: that of the second look (edge.faces.yunet), which is needed anyway.
PROOF = 160


@dataclass(frozen=True, slots=True)
class _Session:
    """The network at one size.

    Attributes:
        tensor: its input, float32 (1, 3, height, width), used again for every picture: a new one costs more than to fill it.
        order: the places of OUTPUTS among what it gives.
        cells: per stride each cell's column and row, and the stride, float32 (N, 3).
    """

    runtime: OnnxRuntime
    tensor: NDArray[np.float32]
    order: tuple[int, ...]
    cells: tuple[NDArray[np.float32], ...]

    def fill(self, image: NDArray[np.uint8]) -> None:
        """Picture (H, W, 3) -> tensor; what it is smaller by stays black at the right and below, as OpenCV pads it."""
        height, width = image.shape[:2]
        # Twenty times as fast as cv2.dnn.blobFromImage, three times as fast as numpy's transpose.
        for channel, plane in enumerate(cv2.split(image)):
            self.tensor[0, channel, :height, :width] = plane
        self.tensor[0, :, height:] = 0
        self.tensor[0, :, :, width:] = 0


class OnnxYuNet:
    """Rows as FaceDetectorYN gives them: x, y, width, height, five landmarks, score."""

    def __init__(self, content: bytes, threads: int) -> None:
        """Read the file; a session is opened for each size when it first comes.

        Args:
            content: YuNet's .onnx, of any export.
            threads: CPU threads of one detection.

        Raises:
            ModelError: it is no YuNet.
            RuntimeMissingError: ONNX Runtime cannot be imported.
        """
        self._session = lru_cache(SESSIONS)(lambda height, width: _open(content, height, width, threads))
        self.name = self._session(PROOF, PROOF).runtime.name

    def rows(self, image: NDArray[np.uint8], min_score: float, max_overlap: float, candidates: int) -> NDArray[np.float32]:
        """Find faces.

        Args:
            image: uint8 (H, W, 3), BGR.
            min_score: boxes below it are dropped.
            max_overlap: of two boxes that share more (intersection over union), the surer stays.
            candidates: so many of the surest boxes are looked at.

        Returns:
            float32 (N, 15), the surest first.
        """
        height, width = (-(-side // STRIDES[-1]) * STRIDES[-1] for side in image.shape[:2])
        session = self._session(height, width)
        session.fill(image)
        outputs = session.runtime.run(session.tensor)
        levels = [[outputs[place][0] for place in session.order[level :: len(STRIDES)]] for level in range(len(STRIDES))]
        return _distinct(_decode(levels, session.cells, min_score), min_score, max_overlap, candidates)


def _open(content: bytes, height: int, width: int, threads: int) -> _Session:
    try:
        sized, names = resized(content, (1, 3, height, width))
    except ValueError as error:
        raise ModelError(f"not an ONNX file ({error})") from None
    missing = [name for name in OUTPUTS if name not in names]
    if missing:
        raise ModelError(f"not a YuNet: it has no output {missing[0]}")
    runtime = OnnxRuntime(sized, threads)
    order = tuple(names.index(name) for name in OUTPUTS)
    sides = [(height // stride, width // stride) for stride in STRIDES]
    expected = [(1, rows * columns, values) for values in VALUES for rows, columns in sides]
    if [runtime.output_shapes[place] for place in order] != expected:
        raise ModelError("not a YuNet: its outputs have other shapes")
    cells = []
    for (rows, columns), stride in zip(sides, STRIDES, strict=True):
        grid = np.meshgrid(np.arange(columns), np.arange(rows))
        cells.append(np.stack([*grid, np.full_like(grid[0], stride)], axis=-1).reshape(-1, 3).astype(np.float32))
    return _Session(runtime, np.zeros((1, 3, height, width), np.float32), order, tuple(cells))


def _decode(
    levels: list[list[NDArray[np.float32]]], cells: tuple[NDArray[np.float32], ...], min_score: float
) -> NDArray[np.float32]:
    """Each stride's outputs (cls, obj, bbox, kps; a row a cell) -> rows of those that are sure enough.

    As FaceDetectorYNImpl::postProcess does it (OpenCV, modules/objdetect/src/face_detect.cpp).
    """
    picked = []
    for outputs, grid in zip(levels, cells, strict=True):
        # The product first: a square root of every cell would cost more than all that follows.
        likely = np.flatnonzero(outputs[0] * outputs[1] >= 0.999 * min_score * min_score)
        if len(likely):
            picked.append(np.concatenate([part[likely] for part in (*outputs, grid)], axis=1))
    if not picked:
        return np.empty((0, 15), np.float32)
    chosen = np.concatenate(picked)
    chosen[:, :2] = np.clip(chosen[:, :2], 0, 1)
    score = np.sqrt(chosen[:, 0] * chosen[:, 1])
    chosen, score = chosen[score >= min_score], score[score >= min_score]
    cell, stride = chosen[:, 16:18], chosen[:, 18:19]
    rows = np.empty((len(chosen), 15), np.float32)
    with np.errstate(over="ignore"):
        rows[:, 2:4] = np.exp(chosen[:, 4:6]) * stride
    rows[:, :2] = (cell + chosen[:, 2:4]) * stride - rows[:, 2:4] / 2
    rows[:, 4:14] = (chosen[:, 6:16] + np.tile(cell, 5)) * stride
    rows[:, 14] = score
    return rows


def _distinct(rows: NDArray[np.float32], min_score: float, max_overlap: float, candidates: int) -> NDArray[np.float32]:
    """Each face once: the surest of its boxes, over boxes in whole pixels as in OpenCV."""
    if len(rows) < 2:
        return rows
    boxes = np.clip(np.trunc(rows[:, :4]), -(2**30), 2**30)
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), rows[:, 14].tolist(), min_score, max_overlap, top_k=candidates)
    return rows[np.asarray(kept, np.int64).reshape(-1)]
