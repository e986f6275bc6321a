"""YuNet as its authors export it (ONNX) -> the same network as a .tflite of any size, which every board can run.

Two changes make it faster, and neither a result: an activation belongs to its convolution, and the four predictions of a
cell come from one pair of convolutions in place of four, as they all look at the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError
from edge.faces.onnx_file import Node, read
from edge.faces.tflite_file import TfliteFile

# One prediction for every cell of so many pixels; sides of the input are multiples of the largest.
STRIDES = (8, 16, 32)
# Whether it is a face, whether there is anything, place and size, five landmarks: numbers of a cell.
KINDS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
VALUES = sum(KINDS.values())
# What makes rows of a table of a prediction, which is one without.
FORMALITIES = ("Sigmoid", "Reshape", "Transpose", "Identity")
# What a node does when it says nothing (onnx/docs/Operators.md).
DEFAULTS = {
    "auto_pad": "NOTSET",
    "ceil_mode": 0,
    "coordinate_transformation_mode": "half_pixel",
    "dilations": (1, 1),
    "group": 1,
    "mode": "nearest",
    "nearest_mode": "round_prefer_floor",
    "pads": (0, 0, 0, 0),
    "strides": (1, 1),
}
# The ways of Resize that give each value two by two times: coordinate_transformation_mode and nearest_mode.
DOUBLING = (
    ("asymmetric", "floor"),
    ("asymmetric", "round_prefer_floor"),
    ("half_pixel", "round_prefer_floor"),
    ("half_pixel", "round_prefer_ceil"),
)


class _Head(NamedTuple):
    """The last two convolutions before a prediction, or before several, and what they look at."""

    source: str
    mixing: NDArray[np.float32]
    mixing_bias: NDArray[np.float32]
    smoothing: NDArray[np.float32]
    smoothing_bias: NDArray[np.float32]


class YuNetGraph:
    """The network of one file."""

    def __init__(self, content: bytes) -> None:
        """Read a YuNet's .onnx, whatever size it was exported for.

        Raises:
            ModelError: it is no ONNX file, or no YuNet.
        """
        try:
            graph = read(content)
        except ValueError as error:
            raise ModelError(f"not an ONNX file ({error})") from None
        missing = [f"{kind}_{stride}" for kind in KINDS for stride in STRIDES if f"{kind}_{stride}" not in graph.outputs]
        if missing:
            raise ModelError(f"not a YuNet: it has no output {missing[0]}")
        self._weights = graph.weights
        self._producers = {name: node for node in graph.nodes for name in node.outputs}
        with _as_model_error():
            self._heads = [self._level(stride) for stride in STRIDES]
            self._source, needed = self._behind([head.source for head in self._heads])
            # Not all nodes: an export for any size computes shapes too, which here are known.
            self._body = [node for node in graph.nodes if node.outputs[0] in needed]
        self._uses = Counter(name for node in self._body for name in _pictures(node))

    def sized(self, height: int, width: int) -> bytes:
        """Make the .tflite for pictures of one size.

        Args:
            height: of the picture, pixels, a multiple of 32.
            width: likewise.

        Returns:
            A network from float32 (1, height + 1, width + 1, 3), BGR, 0..255, whose first row and column are zero, to a
            float32 (1, height / stride, width / stride, VALUES) for each stride: cls and obj before their sigmoid, bbox, kps.

        Raises:
            ModelError: it has a layer that YuNet has not.
        """
        file = TfliteFile()
        source = file.tensor((1, height + 1, width + 1, 3))
        made = {self._source: source}
        with _as_model_error():
            for node in self._body:
                made[node.outputs[0]] = self._translate(file, node, made)
            results = []
            for head in self._heads:
                mixed = file.convolution(made[head.source], head.mixing, head.mixing_bias, 1, relu=False)
                results.append(file.depthwise(mixed, head.smoothing, head.smoothing_bias, relu=False))
        return file.content(source, results)

    def _level(self, stride: int) -> _Head:
        """The four heads of a stride as one."""
        heads = []
        for kind, values in KINDS.items():
            node = self._prediction(f"{kind}_{stride}", sigmoids=1 if kind in ("cls", "obj") else 0)
            before = self._producers[node.inputs[0]]
            head = _Head(before.inputs[0], *self._convolution(before, 1, 1), *self._convolution(node, values, 1))
            if head.mixing.shape[:3] != (values, 1, 1) or head.smoothing.shape != (1, 3, 3, values):
                raise ValueError(f"{kind}_{stride} is made in another way")
            heads.append(head)
        sources = {head.source for head in heads}
        if len(sources) > 1:
            raise ValueError(f"the predictions of stride {stride} look at different layers")
        return _Head(
            sources.pop(),
            np.concatenate([head.mixing for head in heads]),
            np.concatenate([head.mixing_bias for head in heads]),
            np.concatenate([head.smoothing for head in heads], axis=3),
            np.concatenate([head.smoothing_bias for head in heads]),
        )

    def _prediction(self, output: str, sigmoids: int) -> Node:
        """The convolution of which an output is made."""
        node, passed = self._producers[output], list[Node]()
        while node.operator in FORMALITIES:
            if node in passed:
                raise ValueError(f"{output} stands in a circle")
            if node.operator == "Transpose":
                _expect(node, perm=(0, 2, 3, 1))
            passed.append(node)
            node = self._producers[node.inputs[0]]
        if [node.operator for node in passed].count("Sigmoid") != sigmoids:
            raise ValueError(f"{output} is made in another way")
        return node

    def _behind(self, names: list[str]) -> tuple[str, set[str]]:
        """The network's input, and what is made of it on the way to these."""
        waiting, needed, sources = list(names), set[str](), set[str]()
        while waiting:
            name = waiting.pop()
            if name not in self._producers:
                sources.add(name)
            elif name not in needed:
                needed.add(name)
                waiting += _pictures(self._producers[name])
        if len(sources) != 1:
            raise ValueError(f"{len(sources)} inputs")
        return sources.pop(), needed

    def _translate(self, file: TfliteFile, node: Node, made: dict[str, int]) -> int:
        """One node of the body -> the number of the tensor that it makes."""
        source = made[node.inputs[0]]
        match node.operator:
            case "Conv":
                return self._convolve(file, node, source, first=node.inputs[0] == self._source)
            case "Relu":
                # Done by the convolution before it.
                if not self._activated(node.inputs[0]):
                    raise ValueError("a Relu that follows no convolution")
                return source
            case "MaxPool":
                _expect(node, kernel_shape=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0), dilations=(1, 1), ceil_mode=0)
                return file.halve(source)
            case "Resize":
                _expect(node, mode="nearest")
                way = tuple(
                    node.attributes.get(name, DEFAULTS[name]) for name in ("coordinate_transformation_mode", "nearest_mode")
                )
                if way not in DOUBLING:
                    raise ValueError(f"Resize by {' and '.join(map(str, way))}")
                return file.double(source)
            case "Identity":
                return source
            case "Add":
                other = made[node.inputs[1]]
                if file.shape(source) != file.shape(other):
                    raise ValueError(f"a sum of {file.shape(source)} and {file.shape(other)}")
                return file.add(source, other)
        raise ValueError(f"a layer of the kind {node.operator}")

    def _convolve(self, file: TfliteFile, node: Node, source: int, first: bool) -> int:
        channels, relu = file.shape(source)[3], self._activated(node.outputs[0])
        if self._weights[node.inputs[1]].shape[:2] == (channels, 1):
            return file.depthwise(source, *self._convolution(node, channels, 1), relu)
        stride = 2 if first else 1
        weights, bias = self._convolution(node, 1, stride)
        if weights.shape[3] != channels:
            raise ValueError(f"a convolution of {weights.shape[3]} channels where there are {channels}")
        return file.convolution(source, weights, bias, stride, relu)

    def _convolution(self, node: Node, groups: int, stride: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weights (out, rows, columns, in), with groups (1, rows, columns, groups), and bias (out)."""
        if node.operator != "Conv" or len(node.inputs) != 3:
            raise ValueError(
                f"{node.operator} with {len(node.inputs)} inputs where a convolution with weights and bias should be"
            )
        weights, bias = (np.asarray(self._weights[name], np.float32) for name in node.inputs[1:])
        if weights.shape[2:] not in ((1, 1), (3, 3)) or bias.shape != weights.shape[:1]:
            raise ValueError(f"a convolution with weights {weights.shape} and bias {bias.shape}")
        border = weights.shape[2] // 2
        _expect(node, group=groups, auto_pad="NOTSET", dilations=(1, 1), strides=(stride,) * 2, pads=(border,) * 4)
        # A single channel is a group of its own.
        deep = groups > 1 or weights.shape[:2] == (1, 1)
        return weights.transpose((1, 2, 3, 0) if deep else (0, 2, 3, 1)), bias

    def _activated(self, name: str) -> bool:
        """Whether a Relu follows, and nothing else looks at what came before it."""
        followers = [node for node in self._body if node.operator == "Relu" and name in node.inputs]
        return bool(followers) and self._uses[name] == 1 and self._producers[name].operator == "Conv"


def _pictures(node: Node) -> tuple[str, ...]:
    """What a node computes with, without weights, sizes and shapes."""
    return node.inputs[: 2 if node.operator == "Add" else 1]


def _expect(node: Node, **values: object) -> None:
    for name, value in values.items():
        if (found := node.attributes.get(name, DEFAULTS.get(name))) != value:
            raise ValueError(f"{node.operator} with {name} = {found}")


@contextmanager
def _as_model_error() -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise ModelError(f"not a YuNet: it lacks {error}") from None
    except (IndexError, ValueError) as error:
        raise ModelError(f"not a YuNet: {error}") from None
