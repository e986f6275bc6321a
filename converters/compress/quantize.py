"""A float .tflite and the ranges of its tensors -> INT8, by TensorFlow's own quantizer.

The converter would observe the least and the largest value itself. Here the ranges are a thing of their own: chosen by a
method, kept in a file, used again, and the same for every attempt at one network; an attempt then takes milliseconds.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping

import numpy as np

from calibration.choose import Range
from converters.compress.flatbuffer import Operator, name_of, operators, read, schema, write
from converters.quiet import import_tensorflow, quiet
from edge.errors import DataError, first_line

# Operators that move numbers without computing: they are quantized as what they move is.
MOVING = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "GATHER", "SPLIT", "UNPACK"})
# What stands between whole numbers and float.
BORDERS = frozenset({"QUANTIZE", "DEQUANTIZE"})


def quantize(
    content: bytes,
    ranges: Mapping[str, Range],
    in_float: Collection[str] = (),
    per_channel: bool = True,
    whole_ends: bool = True,
) -> bytes:
    """Make whole numbers of a float network: INT8 weights, tensors, input and output.

    Args:
        content: a float32 .tflite, with the names of its tensors.
        ranges: of each tensor that depends on the input, by its name.
        in_float: operators, by `Operator.tensor`, that stay as they are, with a conversion before and behind them.
        per_channel: one scale for each output channel of a layer; one for all of them ruins depthwise layers.
        whole_ends: whether input and output are INT8 too.

    Returns:
        The content of a .tflite file, its tensors named as before.

    Raises:
        DataError: a tensor has no range, or TFLite has no whole-number form of an operator.
    """
    tf, _ = import_tensorflow()
    # What converters of TensorFlow call when they are given pictures instead of ranges.
    convert = importlib.import_module("tensorflow.lite.python.convert")
    marked, ends = _with_ranges(content, ranges), tf.int8 if whole_ends else tf.float32
    try:
        with quiet():
            made = convert.mlir_quantize(
                marked, not per_channel, input_data_type=ends, output_data_type=ends, denylisted_nodes=set(in_float) or None
            )
    except Exception as error:  # noqa: BLE001  the quantizer raises its own kind, ValueError, RuntimeError or a bare Exception
        raise DataError(f"TFLite cannot take this network as int8 ({first_line(error)})") from None
    return bytes(made)


def left_in_float(content: bytes) -> list[Operator]:
    """Operators of a quantized .tflite that compute in float."""
    return [operator for operator in operators(content) if operator.in_float and operator.kind not in BORDERS]


def _with_ranges(content: bytes, ranges: Mapping[str, Range]) -> bytes:
    """The float network with the ends of each tensor written beside it, as the quantizer wants them."""
    kinds, model = schema(), read(content)
    graph = model.subgraphs[0]
    reached = set(graph.inputs)
    for node in graph.operators:
        reached |= set(node.outputs) if reached & set(node.inputs) else set()
    for index in reached:
        tensor = graph.tensors[index]
        if tensor.type != kinds.TensorType.FLOAT32:
            continue
        if (name := name_of(tensor)) not in ranges:
            raise DataError(f"the ranges know nothing of tensor {name!r}; they were made for another network, make them again")
        low, high = ranges[name]
        tensor.quantization = kinds.QuantizationParametersT()
        tensor.quantization.min, tensor.quantization.max = [np.float32(low)], [np.float32(high)]
    return write(model)
