"""An ONNX file, made for another size of picture, without the package `onnx`: its few bytes of protocol buffers by hand.

Field numbers are those of onnx/onnx.proto. Only shapes are rewritten; every node and every weight stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator

# ModelProto.graph; of GraphProto; of TensorProto and ValueInfoProto.
GRAPH, INITIALIZER, INPUT, OUTPUT, VALUE_INFO = 7, 5, 11, 12, 13
TENSOR_NAME, VALUE_NAME = 8, 1
# Wire types (protobuf.dev/programming-guides/encoding).
VARINT, LENGTH = 0, 2
FLOAT = 1


def resized(content: bytes, shape: tuple[int, ...]) -> tuple[bytes, list[str]]:
    """Give a network's one input another shape; whoever loads it works the other shapes out anew.

    Args:
        content: an ONNX file with one float input, whose nodes do not depend on its size.
        shape: of the input.

    Returns:
        The new file's bytes, and the names of its outputs in their order.

    Raises:
        ValueError: this is no ONNX file.
    """
    names: list[str] = []
    parts = [_graph(value, shape, names) if number == GRAPH else raw for number, value, raw in _fields(content)]
    if not names:
        raise ValueError("no graph with outputs")
    return b"".join(parts), names


def _graph(graph: bytes, shape: tuple[int, ...], names: list[str]) -> bytes:
    # Old exporters list the weights among the inputs.
    weights = {_name(value, TENSOR_NAME) for number, value, _ in _fields(graph) if number == INITIALIZER}
    parts = []
    for number, value, raw in _fields(graph):
        if number == VALUE_INFO:
            # Shapes between the layers, which hold for the old size alone.
            continue
        if number == OUTPUT:
            name = _name(value, VALUE_NAME)
            names.append(name.decode())
            parts.append(_message(OUTPUT, _value_info(name, None)))
        elif number == INPUT and (name := _name(value, VALUE_NAME)) not in weights:
            parts.append(_message(INPUT, _value_info(name, shape)))
        else:
            parts.append(raw)
    return _message(GRAPH, b"".join(parts))


def _value_info(name: bytes, shape: tuple[int, ...] | None) -> bytes:
    """ValueInfoProto{name, type: TypeProto{tensor_type: {elem_type, shape: {dim: {dim_value}}}}}."""
    tensor = _varint(1 << 3 | VARINT) + _varint(FLOAT)
    if shape is not None:
        tensor += _message(2, b"".join(_message(1, _varint(1 << 3 | VARINT) + _varint(length)) for length in shape))
    return _message(VALUE_NAME, name) + _message(2, _message(1, tensor))


def _fields(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, value (empty unless it has a length) and the field as it stands, one by one."""
    at = 0
    while at < len(data):
        begin = at
        key, at = _read_varint(data, at)
        value = b""
        match key & 7:
            case 0:  # a number
                _, at = _read_varint(data, at)
            case 1:  # eight bytes
                at += 8
            case 2:  # a length, and as many bytes
                length, at = _read_varint(data, at)
                value, at = data[at : at + length], at + length
            case 5:  # four bytes
                at += 4
            case other:
                raise ValueError(f"wire type {other}")
        if at > len(data):
            raise ValueError("ends in the middle of a field")
        yield key >> 3, value, data[begin:at]


def _name(message: bytes, number: int) -> bytes:
    return next((value for found, value, _ in _fields(message) if found == number), b"")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("ends in the middle of a number")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _message(number: int, body: bytes) -> bytes:
    return _varint(number << 3 | LENGTH) + _varint(len(body)) + body
