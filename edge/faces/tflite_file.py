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


@dataclass(frozen=True, slots=True)
class Operator:
    """One operation; its options in the order of the schema's table: a byte (`True`) or an int32 (`False`) each."""

    kind: Kind
    inputs: tuple[int, ...]
    output: int
    options: tuple[tuple[int, bool], ...]


class TfliteFile:
    """Tensors and operators, one after the other; `content` makes the file of them."""

    def __init__(self) -> None:
        self._tensors: list[tuple[tuple[int, ...], np.dtype[Any], NDArray[Any] | None]] = []
        self._operators: list[Operator] = []

    def tensor(self, shape: Sequence[int]) -> int:
        """A float32 tensor that is computed; its number is returned."""
        return self._append(tuple(shape), np.dtype(np.float32), None)

    def constant(self, values: NDArray[Any]) -> int:
        """Weights, float32 or int32; their number is returned."""
        return self._append(values.shape, values.dtype, values)

    def shape(self, tensor: int) -> tuple[int, ...]:
        return self._tensors[tensor][0]

    def convolution(self, source: int, weights: NDArray[np.float32], bias: NDArray[np.float32], stride: int, relu: bool) -> int:
        """Two-dimensional, weights (out, rows, columns, in); stride 2 takes a source with its border, and pads nothing."""
        padding, activation = SAME if stride == 1 else VALID, RELU if relu else LINEAR
        _, rows, columns, _ = self.shape(source)
        lost = (0, 0) if padding == SAME else (weights.shape[1] - 1, weights.shape[2] - 1)
        sides = [(side - less + stride - 1) // stride for side, less in zip((rows, columns), lost, strict=True)]
        options = ((padding, True), (stride, False), (stride, False), (activation, True))
        inputs = (source, self.constant(weights), self.constant(bias))
        return self._operate(CONV, inputs, (1, *sides, weights.shape[0]), options)

    def depthwise(self, source: int, weights: NDArray[np.float32], bias: NDArray[np.float32], relu: bool) -> int:
        """Each channel for itself, weights (1, rows, columns, channels); as large as its source."""
        options = ((SAME, True), (1, False), (1, False), (1, False), (RELU if relu else LINEAR, True))
        return self._operate(DEPTHWISE, (source, self.constant(weights), self.constant(bias)), self.shape(source), options)

    def halve(self, source: int) -> int:
        """The largest of each two by two."""
        _, rows, columns, channels = self.shape(source)
        options = ((VALID, True), *[(2, False)] * 4, (LINEAR, True))
        return self._operate(MAX_POOL, (source,), (1, rows // 2, columns // 2, channels), options)

    def double(self, source: int) -> int:
        """Each value two by two times."""
        _, rows, columns, channels = self.shape(source)
        size = self.constant(np.array([2 * rows, 2 * columns], np.int32))
        return self._operate(NEAREST, (source, size), (1, 2 * rows, 2 * columns, channels), ())

    def add(self, one: int, other: int) -> int:
        """The sum of two of one shape."""
        return self._operate(ADD, (one, other), self.shape(one), ((LINEAR, True),))

    def content(self, source: int, results: Sequence[int]) -> bytes:
        """The file, whose input and outputs are these tensors."""
        builder = flatbuffers.Builder(1 << 16)
        # The first buffer is empty: that of tensors which are computed.
        constants = [np.empty(0, np.uint8), *(values for *_, values in self._tensors if values is not None)]
        buffers = _vector(builder, [_buffer(builder, values) for values in constants])
        places = iter(range(1, len(constants)))
        tensors = [
            _table(builder, [_integers(builder, shape), _Byte(TYPES[dtype]), _Int(0 if values is None else next(places))])
            for shape, dtype, values in self._tensors
        ]
        operators = [self._operator(builder, operator) for operator in self._operators]
        ends = [_integers(builder, [source]), _integers(builder, results)]
        graphs = _vector(builder, [_table(builder, [_vector(builder, tensors), *ends, _vector(builder, operators)])])
        codes = _vector(builder, [_table(builder, [_Byte(kind.operator), None, _Int(1), _Int(kind.operator)]) for kind in KINDS])
        builder.Finish(_table(builder, [_Int(SCHEMA), codes, graphs, None, buffers]), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def _append(self, shape: tuple[int, ...], dtype: np.dtype[Any], values: NDArray[Any] | None) -> int:
        self._tensors.append((shape, dtype, values))
        return len(self._tensors) - 1

    def _operate(self, kind: Kind, inputs: tuple[int, ...], shape: Sequence[int], options: tuple[tuple[int, bool], ...]) -> int:
        output = self.tensor(shape)
        self._operators.append(Operator(kind, inputs, output, options))
        return output

    @staticmethod
    def _operator(builder: Any, operator: Operator) -> int:
        options = _table(builder, [_Byte(value) if byte else _Int(value) for value, byte in operator.options])
        inputs, outputs = _integers(builder, operator.inputs), _integers(builder, [operator.output])
        return _table(builder, [_Int(KINDS.index(operator.kind)), inputs, outputs, _Byte(operator.kind.options), options])


class _Byte(NamedTuple):
    """A field of one byte."""

    value: int


class _Int(NamedTuple):
    """A field of four bytes."""

    value: int


def _table(builder: Any, fields: Sequence[_Byte | _Int | int | None]) -> int:
    """A table of numbers, of other things by where they lie (a plain int), and of gaps; where it lies is returned."""
    builder.StartObject(len(fields))
    for place, value in enumerate(fields):
        if isinstance(value, _Byte):
            builder.PrependUint8Slot(place, value.value, 0)
        elif isinstance(value, _Int):
            builder.PrependInt32Slot(place, value.value, 0)
        elif value is not None:
            builder.PrependUOffsetTRelativeSlot(place, value, 0)
    return int(builder.EndObject())


def _vector(builder: Any, places: Sequence[int]) -> int:
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    return int(builder.EndVector())


def _integers(builder: Any, numbers: Sequence[int]) -> int:
    return int(builder.CreateNumpyVector(np.array(numbers, np.int32)))


def _buffer(builder: Any, values: NDArray[Any]) -> int:
    raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    # The schema wants its data at a multiple of 16.
    builder.Prep(16, len(raw))
    return _table(builder, [int(builder.CreateNumpyVector(raw))] if len(raw) else [])
