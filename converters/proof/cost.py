"""What one picture costs a network: weights and multiply-accumulates, of a Keras model or of a .tflite, by its shapes.

Only convolutions and dense layers count; biases, normalisation, activations, additions and pools are a few per cent of
them and are left out, as papers do (He et al. 2016, arXiv:1512.03385, table 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edge.errors import DataError

# TFLite's operators by what their weights are multiplied with: each position of the output, or each of the input.
_PER_OUTPUT = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
_PER_INPUT = frozenset({"TRANSPOSE_CONV"})


@dataclass(frozen=True, slots=True)
class Cost:
    """One picture's cost.

    Attributes:
        parameters: numbers that are stored. A .tflite has fewer than its original: batch normalisation is folded into it.
        macs: multiply-accumulates.
    """

    parameters: int
    macs: int


def parameters(model: Any) -> int:
    """Numbers that a Keras model stores, moving statistics included; a shared layer counts once."""
    return sum(math.prod(variable.shape) for variable in model.weights)


def macs(model: Any, size: tuple[int, int] | None = None) -> int:
    """Multiply-accumulates of one picture; a layer that is called twice costs twice.

    Args:
        model: a built Keras model, Sequential or functional, nested ones included.
        size: height and width of the picture, for a network that takes any.

    Raises:
        DataError: a layer with a matrix of weights that is not known here, or a network of free size without `size`.
    """
    if any(length is None for tensor in model.inputs for length in tensor.shape[1:]):
        model = _fixed(model, size)
    return sum(_layer_macs(node.operation, node) for node in _nodes(model))


def tflite_cost(content: bytes) -> Cost:
    """Weights and multiply-accumulates of a .tflite, read from its graph.

    Raises:
        DataError: the package that describes the format is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except (ImportError, OSError) as error:
        raise DataError(f"counting a .tflite needs the package ai-edge-litert ({error})") from None
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    kernels: dict[int, int] = {}
    # Half-precision weights are constants that an operator of their own widens.
    widened: dict[int, int] = {}
    total = 0
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        # Files of old converters hold the operator in the narrow field, those of new ones in both.
        name = names.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "CUSTOM")
        inputs = [int(operator.Inputs(i)) for i in range(operator.InputsLength())]
        if name == "DEQUANTIZE":
            widened[int(operator.Outputs(0))] = inputs[0]
        if name in _PER_OUTPUT:
            weights, place = math.prod(_shape(graph, inputs[1])), _shape(graph, int(operator.Outputs(0)))
        elif name in _PER_INPUT:
            weights, place = math.prod(_shape(graph, inputs[1])), _shape(graph, inputs[2])
        else:
            continue
        total += weights * math.prod(place[1:-1])
        sources = [widened.get(i, i) for i in inputs if i >= 0]
        kernels.update({i: math.prod(_shape(graph, i)) for i in sources if _is_constant(model, graph, i)})
    return Cost(sum(kernels.values()), total)


def onnx_cost(content: bytes) -> Cost:
    """Weights and multiply-accumulates of an .onnx of fixed shape, read from its graph.

    Raises:
        DataError: the package that describes the format is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise DataError(f"counting an .onnx needs the package onnx: pip install 'emotion-edge[convert]' ({error})") from None
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(content)).graph
    constants = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    values = (*graph.value_info, *graph.input, *graph.output)
    shapes = {value.name: tuple(side.dim_value for side in value.type.tensor_type.shape.dim) for value in values}
    # Weights of a quantized network are constants that an operator of their own brings back.
    source = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    weights, total = 0, 0
    for node in graph.node:
        name = source.get(node.input[1], node.input[1]) if len(node.input) > 1 else ""
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or name not in constants:
            continue
        place = shapes[node.input[0] if node.op_type == "ConvTranspose" else node.output[0]]
        # Of a map, each position; of a matrix product, each row.
        positions = place[2:] if node.op_type.startswith("Conv") else place[:-1]
        weights += math.prod(constants[name]) + sum(math.prod(constants.get(bias, (0,))) for bias in node.input[2:])
        total += math.prod(constants[name]) * math.prod(positions)
    return Cost(weights, total)


def _nodes(model: Any) -> Iterator[Any]:
    """Every call of a layer that the model's output depends on."""
    # A Sequential keeps its graph in a functional model of its own.
    graph = getattr(model, "_functional", None) or model
    for nodes in graph._nodes_by_depth.values():
        yield from nodes


def _layer_macs(layer: Any, node: Any) -> int:
    if hasattr(layer, "layers"):
        return macs(layer)
    kind = type(layer).__name__
    output = _positions(layer, node.outputs[0].shape)
    match kind:
        case "Conv2D" | "DepthwiseConv2D" | "Dense":
            return output * math.prod(layer.kernel.shape)
        case "SeparableConv2D":
            return output * (math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape))
        case "Conv2DTranspose":
            return _positions(layer, node.input_tensors[0].shape) * math.prod(layer.kernel.shape)
    if any(len(variable.shape) > 1 for variable in getattr(layer, "weights", ())):
        raise DataError(f"layer {layer.name!r} ({kind}): how many multiply-accumulates it costs is not known here")
    return 0


def _positions(layer: Any, shape: tuple[int, ...]) -> int:
    """How many places of a map the weights are applied at; 1 for a vector."""
    return math.prod(shape[2:] if getattr(layer, "data_format", None) == "channels_first" else shape[1:-1])


def _fixed(model: Any, size: tuple[int, int] | None) -> Any:
    if size is None:
        raise DataError(f"{model.name}: takes pictures of any size; what one costs depends on its height and width")
    from converters.quiet import import_tensorflow, quiet

    _, keras = import_tensorflow()
    with quiet():
        return keras.models.clone_model(model, input_tensors=keras.Input((*size, model.inputs[0].shape[-1])))


def _shape(graph: Any, index: int) -> tuple[int, ...]:
    tensor = graph.Tensors(index)
    return tuple(int(tensor.Shape(axis)) for axis in range(tensor.ShapeLength()))


def _is_constant(model: Any, graph: Any, index: int) -> bool:
    return bool(model.Buffers(graph.Tensors(index).Buffer()).DataLength())
