"""Reading and writing .tflite files with TensorFlow's own tools, which nothing but converters needs."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from converters.compress.names import layer_name

# How TensorFlow names what a SavedModel returns.
SIGNATURE = "StatefulPartitionedCall"


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a .tflite, in the order in which they run.

    Attributes:
        kind: TFLite's name, such as CONV_2D.
        tensors: names of its outputs; the quantizer knows the operator by the first.
        in_float: whether it gives float numbers.
    """

    kind: str
    tensors: tuple[str, ...]
    in_float: bool

    @property
    def tensor(self) -> str:
        return self.tensors[0]

    @property
    def layer(self) -> str:
        """Name of the Keras layer it came from; the last one has lost its name to the signature."""
        return self.kind.lower() if self.tensor.startswith(SIGNATURE) else layer_name(self.tensor)


def operators(content: bytes) -> list[Operator]:
    """The operators of a .tflite whose outputs depend on its input."""
    model, tools = read(content), _tools()
    graph = model.subgraphs[0]
    floats = (schema().TensorType.FLOAT32, schema().TensorType.FLOAT16)
    reached, found = set(graph.inputs), []
    for node in graph.operators:
        if reached & set(node.inputs):
            reached |= set(node.outputs)
            outputs = [graph.tensors[index] for index in node.outputs]
            kind = tools.opcode_to_name(model, node.opcodeIndex)
            found.append(Operator(kind, tuple(name_of(tensor) for tensor in outputs), outputs[0].type in floats))
    return found


def input_name(content: bytes) -> str:
    """Name of the tensor that takes the picture."""
    graph = read(content).subgraphs[0]
    return name_of(graph.tensors[graph.inputs[0]])


def without_names(content: bytes) -> bytes:
    """The same network without the names of its tensors: 6 kB of the 109 of a micro network, and nothing that runs reads them."""
    model = read(content)
    _tools().strip_strings(model)
    return write(model)


def read(content: bytes) -> Any:
    """The file as objects of TensorFlow's schema."""
    return _tools().read_model_from_bytearray(bytearray(content))


def write(model: Any) -> bytes:
    """What `read` gave, as a file."""
    return bytes(_tools().convert_object_to_bytearray(model))


def name_of(tensor: Any) -> str:
    """Shipped artifacts have no names."""
    return (tensor.name or b"").decode()


def schema() -> Any:
    """TFLite's classes and numbers."""
    return importlib.import_module("tensorflow.lite.python.schema_py_generated")


def _tools() -> Any:
    return importlib.import_module("tensorflow.lite.tools.flatbuffer_utils")
