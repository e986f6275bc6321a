"""A float network -> ONNX as TensorRT 8.2 and everything after it reads: opset 13, one fixed shape, channels first."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from converters.compress.names import layer_name, unique
from converters.loading.model import FloatModel
from converters.quiet import import_tensorflow, quiet
from edge.errors import DataError, first_line

# TensorRT 8.2 parses up to 13, and 13 is the first with Q/DQ per channel.
OPSET = 13
INPUT, OUTPUT = "image", "scores"
ROLES = ("input", "weight", "bias")


def to_onnx(model: FloatModel, height: int, width: int) -> bytes:
    """Convert, with batch normalisation folded into the convolutions before it.

    Args:
        model: the network.
        height, width: of its input, in pixels.

    Returns:
        The content of an .onnx file: `image`, float32 (1, C, H, W) -> `scores`, float32 (1, classes).

    Raises:
        DataError: the network cannot be traced at this size, or ONNX has no such operator.
    """
    tf, _ = import_tensorflow()
    import onnx
    import tf2onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    signature = tf.TensorSpec((1, height, width, model.channels), tf.float32, name=INPUT)
    try:
        with quiet(), tempfile.TemporaryDirectory(prefix="edge-convert-") as folder:
            function = tf.function(lambda image: tf.cast(model.call(image), tf.float32))
            exported, _ = tf2onnx.convert.from_function(function, [signature], opset=OPSET, inputs_as_nchw=[INPUT])
            raw, folded = Path(folder) / "raw.onnx", Path(folder) / "folded.onnx"
            onnx.save(exported, raw)
            # Some pairs, such as those behind depthwise layers, only ONNX Runtime's own passes fold.
            quant_pre_process(str(raw), str(folded), skip_symbolic_shape=True)
            graph = _tidy(onnx.load(folded))
            onnx.checker.check_model(graph, full_check=True)
    except Exception as error:  # noqa: BLE001  four packages, each with its own kinds
        raise DataError(f"{model.path}: ONNX cannot take this network ({first_line(error)})") from None
    return bytes(graph.SerializeToString())


def _tidy(model: Any) -> Any:
    """Plain names in an order of their own, and nothing that does nothing."""
    import onnx

    graph = model.graph
    used = {node.domain for node in graph.node}
    kept = [entry for entry in model.opset_import if entry.domain in used or not entry.domain]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    model.producer_name, model.doc_string, graph.name, graph.doc_string = "emotion-edge", "", "network", ""
    del model.metadata_props[:]
    _drop_idle(model)
    del graph.value_info[:]
    names = _names(graph)
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = names[value.name]
    for node in graph.node:
        node.doc_string, node.name = "", names[node.output[0]]
        for places in (node.input, node.output):
            places[:] = [names.get(name, name) for name in places]
    ordered = sorted(graph.initializer, key=lambda tensor: tensor.name)
    del graph.initializer[:]
    graph.initializer.extend(ordered)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def _drop_idle(model: Any) -> None:
    """The reshape that turned one channel last into one channel first, which are the same numbers in the same order."""
    import onnx

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    picture, shape = graph.input[0].name, [side.dim_value for side in graph.input[0].type.tensor_type.shape.dim]
    for node in list(graph.node):
        if node.op_type != "Reshape" or node.input[0] != picture or node.input[1] not in constants:
            continue
        if onnx.numpy_helper.to_array(constants[node.input[1]]).tolist() != shape:
            continue
        graph.node.remove(node)
        for other in graph.node:
            other.input[:] = [picture if name == node.output[0] else name for name in other.input]
    needed = {name for node in graph.node for name in node.input}
    for tensor in list(graph.initializer):
        if tensor.name not in needed:
            graph.initializer.remove(tensor)


def _names(graph: Any) -> dict[str, str]:
    """Every tensor by the layer that makes it: the exporter's own names are numbered anew by each conversion."""
    weights = {tensor.name for tensor in graph.initializer}
    made = [(node, output) for node in graph.node for output in node.output if output]
    # A layer's name belongs to what has its weights, before what only follows.
    ranked = sorted(range(len(made)), key=lambda place: _weights_of(made[place][0], weights) is None)
    layers = (layer_name(_weights_of(made[place][0], weights) or made[place][0].name or made[place][1]) for place in ranked)
    given = unique([INPUT, OUTPUT, *layers])[2:]
    names = {graph.input[0].name: INPUT, **{made[place][1]: name for place, name in zip(ranked, given, strict=True)}}
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in weights:
                role = ROLES[place] if place < len(ROLES) else f"constant_{place}"
                names.setdefault(name, f"{names[node.output[0]]}.{role}")
    return {**names, graph.output[0].name: OUTPUT}


def _weights_of(node: Any, weights: set[str]) -> str | None:
    return next((name for name in node.input[1:2] if name in weights and "/" in name), None)
