"""A float ONNX network and its ranges -> ONNX with quantize and dequantize nodes, from which TensorRT makes INT8.

In the shape that TensorRT fuses: what goes into convolutions and matrix products, symmetric, weights by channel; biases and
outputs stay float (NVIDIA, "Developer Guide", section "Working with quantized types", Q/DQ placement). On a processor
ONNX Runtime computes it in float, slower than without the nodes: it is a file for TensorRT and nothing else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.choose import Range
from converters.quiet import quiet
from edge.errors import DataError, first_line

QUANTIZED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def quantized_layers(content: bytes) -> list[str]:
    """The layers of a float .onnx that `to_qdq` quantizes, by the name of their output: those that have weights."""
    import onnx

    graph = onnx.load_from_string(content).graph
    constants = {tensor.name for tensor in graph.initializer}
    return [node.output[0] for node in graph.node if node.op_type in QUANTIZED and set(node.input[1:2]) & constants]


def to_qdq(content: bytes, ranges: Mapping[str, Range], in_float: Collection[str] = ()) -> bytes:
    """Put quantize and dequantize nodes into a network.

    Args:
        content: a float .onnx of one input and fixed shape.
        ranges: of each tensor that goes into a layer with weights, by its name.
        in_float: layers of `quantized_layers` that stay as they are.

    Returns:
        The content of an .onnx file.

    Raises:
        DataError: a tensor has no range, or ONNX Runtime cannot quantize the network.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    model = onnx.load_from_string(content)
    wanted = set(quantized_layers(content)) - set(in_float)
    layers = [node for node in model.graph.node if node.output[0] in wanted]
    fed = {node.input[0] for node in layers}
    if not layers:
        return content
    if missing := sorted(fed - set(ranges)):
        raise DataError(f"the ranges know nothing of tensor {missing[0]!r}; they were made for another network, make them again")
    _name_nodes(model)
    entry = model.graph.input[0]
    shape = [dimension.dim_value for dimension in entry.type.tensor_type.shape.dim]

    class Blank(CalibrationDataReader):
        """One picture, because its calibrator insists on one; every range is given below."""

        def __init__(self) -> None:
            self._left: list[dict[str, NDArray[np.float32]]] = [{entry.name: np.zeros(shape, np.float32)}]

        def get_next(self) -> Any:
            return self._left.pop() if self._left else None

    try:
        with quiet(), tempfile.TemporaryDirectory(prefix="edge-convert-") as folder:
            before, after = Path(folder) / "float.onnx", Path(folder) / "qdq.onnx"
            onnx.save(model, before)
            quantize_static(
                str(before),
                str(after),
                Blank(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTIZED),
                nodes_to_quantize=[node.name for node in layers],
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                extra_options={
                    "ActivationSymmetric": True,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,
                    "OpTypesToExcludeOutputQuantization": list(QUANTIZED),
                    "TensorQuantOverrides": {name: [_override(ranges[name])] for name in fed},
                },
            )
            made = _fed_exactly(onnx.load(after), wanted)
    except Exception as error:  # noqa: BLE001  ONNX Runtime's quantizer raises whatever it meets
        raise DataError(f"ONNX Runtime cannot quantize this network ({first_line(error)})") from None
    made.producer_name = "emotion-edge"
    return bytes(made.SerializeToString())


def _fed_exactly(model: Any, wanted: Collection[str]) -> Any:
    """Where a layer in float shares its input with one in INT8, it gets the exact values, not the rounded ones."""
    made = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") or node.output[0] in wanted:
            continue
        for place, name in enumerate(node.input):
            back = made.get(name)
            if back is not None and back.op_type == "DequantizeLinear" and back.input[0] in made:
                node.input[place] = made[back.input[0]].input[0]
    return model


def _override(ends: Range) -> dict[str, Any]:
    reach = max(-ends[0], ends[1], 1e-8)
    return {"rmin": np.float32(-reach), "rmax": np.float32(reach), "symmetric": True}


def _name_nodes(model: Any) -> None:
    """Nodes are left out by name, and an exporter need not give them one."""
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
