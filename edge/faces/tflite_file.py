"""A network of convolutions -> the bytes of a .tflite, without TensorFlow.

Places of fields and numbers of operators are those of tensorflow/lite/schema/schema.fbs. Every operator is its first version,
which each TFLite knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import flatbuffers
import numpy as np
from numpy.typing import NDArray

SCHEMA = 3
# TensorType, by numpy's type.
TYPES = {np.dtype(np.float32): 0, np.dtype(np.int32): 2}


class Kind(NamedTuple):
    """BuiltinOperator, and BuiltinOptions: which table its options are."""

    operator: int
    options: int


ADD, CONV, DEPTHWISE, MAX_POOL, NEAREST = Kind(0, 11), Kind(3, 1), Kind(4, 2), Kind(17, 5), Kind(97, 74)
KINDS = (ADD, CONV, DEPTHWISE, MAX_POOL, NEAREST)

# Of options: Padding and ActivationFunctionType.
SAME, VALID = 0, 1
LINEAR, RELU = 0, 1


class Byte(NamedTuple):
    """A field of one byte."""

    value: int


class Int(NamedTuple):
    """A field of four bytes."""

    value: int


class Place(NamedTuple):
    """A field of something else: where that lies in the file."""

    value: int


Field = Byte | Int | Place | None


@dataclass(frozen=True, slots=True)
class Operator:
    """One operation; its options are the fields of the schema's table, in their order."""

    kind: Kind
    inputs: tuple[int, ...]
    output: int
    options: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """What an operation takes or makes; `buffer` is that of its values, 0 where it is computed."""

    shape: tuple[int, ...]
    kind: int
    buffer: int


class TfliteFile:
    """Tensors, each known by its number, and operators, one after the other; `content` makes the file of them.

    Pictures are (1, rows, columns, channels).
    """

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []
        self._operators: list[Operator] = []
        # The first buffer is empty: that of tensors which are computed.
        self._buffers: list[NDArray[Any]] = [np.empty(0, np.float32)]

    def tensor(self, shape: Sequence[int]) -> int:
        """A float32 tensor that is computed."""
        return self._append(Tensor(tuple(shape), TYPES[np.dtype(np.float32)], 0))

    def constant(self, values: NDArray[Any]) -> int:
        """Weights, float32 or int32."""
        self._buffers.append(values)
        return self._append(Tensor(values.shape, TYPES[values.dtype], len(self._buffers) - 1))

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Of the tensor with this number."""
        return self._tensors[tensor].shape

    def convolution(self, source: int, weights: NDArray[np.float32], bias: NDArray[np.float32], stride: int, relu: bool) -> int:
        """A convolution over rows and columns.

        Args:
            source: a picture; with stride 2 its border belongs to it, and nothing is padded.
            weights: (out, rows, columns, in).
            bias: (out,).
            stride: 1 keeps the source's size.
            relu: whether what is negative becomes zero.
        """
        padding = SAME if stride == 1 else VALID
        lost = (0, 0) if padding == SAME else (weights.shape[1] - 1, weights.shape[2] - 1)
        sides = [(side - less + stride - 1) // stride for side, less in zip(self.shape(source)[1:3], lost, strict=True)]
        options = (Byte(padding), Int(stride), Int(stride), Byte(RELU if relu else LINEAR))
        inputs = (source, self.constant(weights), self.constant(bias))
        return self._operate(CONV, inputs, (1, *sides, weights.shape[0]), options)

    def depthwise(self, source: int, weights: NDArray[np.float32], bias: NDArray[np.float32], relu: bool) -> int:
        """A convolution of each channel for itself, weights (1, rows, columns, channels); as large as its source."""
        options = (Byte(SAME), Int(1), Int(1), Int(1), Byte(RELU if relu else LINEAR))
        return self._operate(DEPTHWISE, (source, self.constant(weights), self.constant(bias)), self.shape(source), options)

    def halve(self, source: int) -> int:
        """The largest of each two by two; an odd row or column at the end is left out."""
        _, rows, columns, channels = self.shape(source)
        options = (Byte(VALID), Int(2), Int(2), Int(2), Int(2), Byte(LINEAR))
        return self._operate(MAX_POOL, (source,), (1, rows // 2, columns // 2, channels), options)

    def double(self, source: int) -> int:
        """Each value two by two times."""
        _, rows, columns, channels = self.shape(source)
        size = self.constant(np.array([2 * rows, 2 * columns], np.int32))
        return self._operate(NEAREST, (source, size), (1, 2 * rows, 2 * columns, channels), ())

    def add(self, one: int, other: int) -> int:
        """The sum of two of one shape."""
        return self._operate(ADD, (one, other), self.shape(one), (Byte(LINEAR),))

    def content(self, source: int, results: Sequence[int]) -> bytes:
        """The file, whose input and outputs are these tensors."""
        builder = flatbuffers.Builder(1 << 16)
        buffers = _vector(builder, [_buffer(builder, values) for values in self._buffers])
        tensors = [
            _table(builder, _integers(builder, tensor.shape), Byte(tensor.kind), Int(tensor.buffer)) for tensor in self._tensors
        ]
        operators = [self._operator(builder, operator) for operator in self._operators]
        ends = _integers(builder, [source]), _integers(builder, results)
        graphs = _vector(builder, [_table(builder, _vector(builder, tensors), *ends, _vector(builder, operators))])
        codes = _vector(builder, [_table(builder, Byte(kind.operator), None, Int(1), Int(kind.operator)) for kind in KINDS])
        builder.Finish(_table(builder, Int(SCHEMA), codes, graphs, None, buffers).value, file_identifier=b"TFL3")
        return bytes(builder.Output())

    def _append(self, tensor: Tensor) -> int:
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _operate(self, kind: Kind, inputs: tuple[int, ...], shape: Sequence[int], options: tuple[Field, ...]) -> int:
        output = self.tensor(shape)
        self._operators.append(Operator(kind, inputs, output, options))
        return output

    @staticmethod
    def _operator(builder: Any, operator: Operator) -> Place:
        options = _table(builder, *operator.options)
        inputs, outputs = _integers(builder, operator.inputs), _integers(builder, [operator.output])
        return _table(builder, Int(KINDS.index(operator.kind)), inputs, outputs, Byte(operator.kind.options), options)


def _table(builder: Any, *fields: Field) -> Place:
    """A table; None is a field at its default."""
    builder.StartObject(len(fields))
    for number, field in enumerate(fields):
        match field:
            case Byte(value):
                builder.PrependUint8Slot(number, value, 0)
            case Int(value):
                builder.PrependInt32Slot(number, value, 0)
            case Place(value):
                builder.PrependUOffsetTRelativeSlot(number, value, 0)
    return Place(builder.EndObject())


def _vector(builder: Any, places: Sequence[Place]) -> Place:
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place.value)
    return Place(builder.EndVector())


def _integers(builder: Any, numbers: Sequence[int]) -> Place:
    return Place(builder.CreateNumpyVector(np.array(numbers, np.int32)))


def _buffer(builder: Any, values: NDArray[Any]) -> Place:
    if not len(values):
        return _table(builder)
    raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    # The schema wants its data at a multiple of 16.
    builder.Prep(16, len(raw))
    return _table(builder, Place(builder.CreateNumpyVector(raw)))
