"""A float .tflite and the ranges of its tensors -> INT8, by TensorFlow's own quantizer.

The converter would observe the least and the largest value itself. Here the ranges are a thing of their own: chosen by a
method, kept in a file, used again, and the same for every attempt at one network; an attempt then takes milliseconds.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibration.choose import Range
from converters.compress.names import layer_name
from converters.quiet import import_tensorflow, quiet
from edge.errors import DataError, first_line

# Operators that move numbers without computing: they are quantized as what they move is.
MOVING = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "GATHER", "SPLIT", "UNPACK"})
# How TensorFlow names what a SavedModel returns.
SIGNATURE = "StatefulPartitionedCall"
# What stands between whole numbers and float.
BORDERS = frozenset({"QUANTIZE", "DEQUANTIZE"})


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a float .tflite, in the order in which they run.

    Attributes:
        tensor: name of its first output, by which the quantizer knows the operator.
        kind: TFLite's name, such as CONV_2D.
    """

    tensor: str
    kind: str

    @property
    def layer(self) -> str:
        """Name of the Keras layer it came from; the last one has lost its name to the signature."""
        return self.kind.lower() if self.tensor.startswith(SIGNATURE) else layer_name(self.tensor)


def operators(content: bytes) -> list[Operator]:
    """The operators of a .tflite that have an output which depends on the input."""
    tools, model = _tools(), _read(content)
    graph = model.subgraphs[0]
    reached, found = set(graph.inputs), []
    for node in graph.operators:
        if reached & set(node.inputs):
            reached |= set(node.outputs)
            found.append(Operator(_name(graph.tensors[node.outputs[0]]), tools.opcode_to_name(model, node.opcodeIndex)))
    return found


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
    marked = _with_ranges(content, ranges)
    ends = tf.int8 if whole_ends else tf.float32
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
    tools, model = _tools(), _read(content)
    graph = model.subgraphs[0]
    schema = importlib.import_module("tensorflow.lite.python.schema_py_generated")
    found = []
    for node in graph.operators:
        kind = tools.opcode_to_name(model, node.opcodeIndex)
        output = graph.tensors[node.outputs[0]]
        if kind not in BORDERS and output.type in (schema.TensorType.FLOAT32, schema.TensorType.FLOAT16):
            found.append(Operator(_name(output), kind))
    return found


def _with_ranges(content: bytes, ranges: Mapping[str, Range]) -> bytes:
    """The float network with the ends of each tensor written beside it, as the quantizer wants them."""
    schema = importlib.import_module("tensorflow.lite.python.schema_py_generated")
    model = _read(content)
    graph = model.subgraphs[0]
    computed = {index for node in graph.operators for index in node.outputs} | set(graph.inputs)
    for index in computed:
        tensor = graph.tensors[index]
        if tensor.type != schema.TensorType.FLOAT32:
            continue
        name = _name(tensor)
        if name not in ranges:
            raise DataError(f"the ranges know nothing of tensor {name!r}; they were made for another network, make them again")
        low, high = ranges[name]
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.min, tensor.quantization.max = [np.float32(low)], [np.float32(high)]
    return bytes(_tools().convert_object_to_bytearray(model))


def _name(tensor: Any) -> str:
    """Shipped artifacts have none."""
    return (tensor.name or b"").decode()


def _read(content: bytes) -> Any:
    return _tools().read_model_from_bytearray(bytearray(content))


def _tools() -> Any:
    return importlib.import_module("tensorflow.lite.tools.flatbuffer_utils")
