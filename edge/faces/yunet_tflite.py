"""YuNet's network on TFLite, which needs half the time of OpenCV's DNN; the same faces as FaceDetectorYN."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError
from edge.faces.yunet_graph import STRIDES, VALUES, YuNetGraph
from edge.runtime.tflite import TfliteRuntime

# The frame's size and the second look's, and room for a stream that changes its size. An interpreter of 320x192 takes 7 MB,
# and has threads of its own.
INTERPRETERS = 4
# The size at which a file has to prove itself: that of the second look (edge.faces.yunet), which is needed anyway.
PROOF = 160


@dataclass(frozen=True, slots=True)
class _Sized:
    """The network at one size.

    Attributes:
        tensor: its input, float32 (1, height + 1, width + 1, 3), used again for every picture: a new one costs more than to
            fill it. Its first row and column are the border of the first convolution.
        order: the places of the strides among what it gives.
        cells: per stride each cell's column and row, and the stride, float32 (N, 3).
    """

    runtime: TfliteRuntime
    tensor: NDArray[np.float32]
    order: tuple[int, ...]
    cells: tuple[NDArray[np.float32], ...]

    def fill(self, image: NDArray[np.uint8]) -> None:
        """Picture (H, W, 3) -> tensor; what it is smaller by stays black at the right and below, as OpenCV pads it."""
        bottom, right = image.shape[0] + 1, image.shape[1] + 1
        self.tensor[0, 1:bottom, 1:right] = image
        self.tensor[0, bottom:] = 0
        self.tensor[0, :, right:] = 0


class TfliteYuNet:
    """Rows as FaceDetectorYN gives them: x, y, width, height, five landmarks, score."""

    def __init__(self, content: bytes, threads: int) -> None:
        """Read the file; an interpreter is made for each size when it first comes.

        Args:
            content: YuNet's .onnx, whatever size it was exported for.
            threads: CPU threads of one detection.

        Raises:
            ModelError: it is no YuNet.
            RuntimeMissingError: no TFLite runtime can be imported.
        """
        graph = YuNetGraph(content)
        self._sized = lru_cache(INTERPRETERS)(lambda height, width: _open(graph, height, width, threads))
        self.name = self._sized(PROOF, PROOF).runtime.name

    def rows(self, image: NDArray[np.uint8], min_score: float, max_overlap: float, candidates: int) -> NDArray[np.float32]:
        """Find faces.

        Args:
            image: uint8 (H, W, 3), BGR.
            min_score: boxes below it are dropped.
            max_overlap: of two boxes that share more (intersection over union), the surer stays.
            candidates: so many of the surest boxes are looked at.

        Returns:
            float32 (N, 15), the surest first: pixels of the image, and a score of 0..1.
        """
        height, width = (-(-side // STRIDES[-1]) * STRIDES[-1] for side in image.shape[:2])
        sized = self._sized(height, width)
        sized.fill(image)
        outputs = sized.runtime.run(sized.tensor)
        levels = [outputs[place].reshape(-1, VALUES) for place in sized.order]
        return _distinct(_decode(levels, sized.cells, min_score), min_score, max_overlap, candidates)


def _open(graph: YuNetGraph, height: int, width: int, threads: int) -> _Sized:
    runtime = TfliteRuntime(graph.sized(height, width), threads)
    sides = [(height // stride, width // stride) for stride in STRIDES]
    expected = [(1, *side, VALUES) for side in sides]
    if sorted(runtime.output_shapes) != sorted(expected):
        raise ModelError("not a YuNet: its outputs have other shapes")
    cells = []
    for (rows, columns), stride in zip(sides, STRIDES, strict=True):
        grid = np.meshgrid(np.arange(columns), np.arange(rows))
        cells.append(np.stack([*grid, np.full_like(grid[0], stride)], axis=-1).reshape(-1, 3).astype(np.float32))
    tensor = np.zeros((1, height + 1, width + 1, 3), np.float32)
    return _Sized(runtime, tensor, tuple(runtime.output_shapes.index(shape) for shape in expected), tuple(cells))


def _decode(levels: list[NDArray[np.float32]], cells: tuple[NDArray[np.float32], ...], min_score: float) -> NDArray[np.float32]:
    """Each stride's output (cls, obj, bbox, kps; a row a cell) -> rows of those that are sure enough.

    As FaceDetectorYNImpl::postProcess does it (OpenCV, modules/objdetect/src/face_detect.cpp).
    """
    least = 0.999 * min_score * min_score
    with np.errstate(divide="ignore"):
        # Neither probability is below their product; most cells end here, before anything is computed of them.
        threshold = np.log(np.float32(least) / np.float32(1 - least))
    likely = [np.flatnonzero(outputs[:, 1] >= threshold) for outputs in levels]
    chosen = np.concatenate(
        [np.hstack([outputs[some], grid[some]]) for outputs, grid, some in zip(levels, cells, likely, strict=True)]
    )
    # Boxes without an end are left to whoever knows the picture.
    with np.errstate(over="ignore", invalid="ignore"):
        chosen[:, :2] = 1 / (1 + np.exp(-chosen[:, :2]))
        score = np.sqrt(chosen[:, 0] * chosen[:, 1])
        chosen, score = chosen[score >= min_score], score[score >= min_score]
        cell, stride = chosen[:, 16:18], chosen[:, 18:19]
        rows = np.empty((len(chosen), 15), np.float32)
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
