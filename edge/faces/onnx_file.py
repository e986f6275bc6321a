"""What an ONNX file says, without the package `onnx` (its 20 MB are for whoever writes one): nodes and weights.

Field numbers are those of onnx/onnx.proto; only what a network of convolutions uses is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# ModelProto.graph; of GraphProto; of NodeProto; of AttributeProto; of TensorProto and ValueInfoProto.
GRAPH = 7
NODE, INITIALIZER, OUTPUT = 1, 5, 12
NODE_INPUT, NODE_OUTPUT, OPERATOR, ATTRIBUTE = 1, 2, 4, 5
ATTRIBUTE_NAME, INTEGER, TEXT, TENSOR, INTEGERS = 1, 3, 4, 5, 8
DIMENSIONS, DATA_TYPE, FLOAT_DATA, INTEGER_DATA, TENSOR_NAME, RAW_DATA = 1, 2, 4, 7, 8, 9
VALUE_NAME = 1
# TensorProto.DataType.
TYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 7: np.dtype("<i8")}


@dataclass(frozen=True, slots=True)
class Node:
    """One operation.

    Attributes:
        attributes: integers, tuples of integers, text and tensors by name; those of other types are left out.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass(slots=True)
class Graph:
    """A network: its nodes in the order in which they can be run, its weights, the names of what it gives."""

    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, NDArray[Any]] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)


def read(content: bytes) -> Graph:
    """Take an ONNX file apart. Weights that are neither float32 nor int64 are left out.

    Raises:
        ValueError: this is no ONNX file, or its weights lie in another one.
    """
    graph = Graph()
    for number, value in _fields(content):
        if number == GRAPH:
            for part, message in _fields(_bytes(value)):
                _add(graph, part, message)
    if not graph.outputs:
        raise ValueError("no graph with outputs")
    return graph


def _add(graph: Graph, number: int, value: bytes | int) -> None:
    if number == NODE:
        node = _node(_bytes(value))
        if node.operator == "Constant":
            graph.weights.update((node.outputs[0], value) for value in node.attributes.values() if isinstance(value, np.ndarray))
        else:
            graph.nodes.append(node)
    elif number == INITIALIZER:
        name, weights = _tensor(_bytes(value))
        if weights is not None:
            graph.weights[name] = weights
    elif number == OUTPUT:
        graph.outputs.extend(_text(name) for found, name in _fields(_bytes(value)) if found == VALUE_NAME)


def _node(message: bytes) -> Node:
    operator, inputs, outputs, attributes = "", list[str](), list[str](), dict[str, Any]()
    for number, value in _fields(message):
        if number == NODE_INPUT:
            inputs.append(_text(value))
        elif number == NODE_OUTPUT:
            outputs.append(_text(value))
        elif number == OPERATOR:
            operator = _text(value)
        elif number == ATTRIBUTE:
            name, content = _attribute(_bytes(value))
            if content is not None:
                attributes[name] = content
    if not outputs:
        raise ValueError("a node without outputs")
    return Node(operator, tuple(inputs), tuple(outputs), attributes)


def _attribute(message: bytes) -> tuple[str, Any]:
    name, several = "", list[int]()
    content: Any = None
    for number, value in _fields(message):
        if number == ATTRIBUTE_NAME:
            name = _text(value)
        elif number == INTEGER:
            content = _integer(value)
        elif number == TEXT:
            content = _text(value)
        elif number == TENSOR:
            content = _tensor(_bytes(value))[1]
        elif number == INTEGERS:
            several += _integers(value)
    return name, tuple(several) if several else content


def _tensor(message: bytes) -> tuple[str, NDArray[Any] | None]:
    name, shape, kind, raw, floats, integers = "", list[int](), 0, b"", b"", list[int]()
    for number, value in _fields(message):
        if number == DIMENSIONS:
            shape += _integers(value)
        elif number == DATA_TYPE:
            kind = _integer(value)
        elif number == TENSOR_NAME:
            name = _text(value)
        elif number == RAW_DATA:
            raw = _bytes(value)
        elif number == FLOAT_DATA:
            floats += _bytes(value)
        elif number == INTEGER_DATA:
            integers += _integers(value)
    if kind not in TYPES:
        return name, None
    values: NDArray[Any] = np.array(integers, np.int64) if integers else np.frombuffer(raw or floats, dtype=TYPES[kind])
    if len(values) != math.prod(shape):
        raise ValueError(f"{name or 'a tensor'} has {len(values)} values for the shape {tuple(shape)}")
    return name, values.reshape(shape)


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Number and value of each field of a message (protobuf.dev/programming-guides/encoding)."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        value: bytes | int
        match key & 7:
            case 0:  # a number
                value, at = _read_varint(data, at)
            case 2:  # a length, and as many bytes
                length, at = _read_varint(data, at)
                value, at = data[at : at + length], at + length
            case 1 | 5 as width:  # eight bytes, or four
                size = 8 if width == 1 else 4
                value, at = data[at : at + size], at + size
            case other:
                raise ValueError(f"wire type {other}")
        if at > len(data):
            raise ValueError("ends in the middle of a field")
        yield key >> 3, value


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("ends in the middle of a number")


def _bytes(value: bytes | int) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message should be")
    return value


def _text(value: bytes | int) -> str:
    return _bytes(value).decode()


def _integer(value: bytes | int) -> int:
    """An int64, which is written as its two's complement."""
    if not isinstance(value, int):
        raise ValueError("bytes where a number should be")
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def _integers(value: bytes | int) -> list[int]:
    """One number of a repeated field, or all of them packed into one."""
    if isinstance(value, int):
        return [_integer(value)]
    numbers, at = [], 0
    while at < len(value):
        number, at = _read_varint(value, at)
        numbers.append(_integer(number))
    return numbers
