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
    """Plain names for input and output, and no mention of operator sets that nothing uses."""
    used = {node.domain for node in model.graph.node}
    kept = [entry for entry in model.opset_import if entry.domain in used or not entry.domain]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    model.producer_name, model.doc_string, model.graph.name, model.graph.doc_string = "emotion-edge", "", "network", ""
    del model.metadata_props[:]
    del model.graph.value_info[:]
    names = _names(model)
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.name = names[value.name]
    for node in model.graph.node:
        node.doc_string, node.name = "", names[node.output[0]]
        for places in (node.input, node.output):
            places[:] = [names.get(name, name) for name in places]
    ordered = sorted(model.graph.initializer, key=lambda tensor: tensor.name)
    del model.graph.initializer[:]
    model.graph.initializer.extend(ordered)
    return model


def _names(model: Any) -> dict[str, str]:
    """Every tensor by the layer that makes it: the exporter's own names are numbered anew by each conversion."""
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    made = [(node, output) for node in graph.node for output in node.output]
    given = [INPUT, *unique([INPUT, OUTPUT, *(layer_name(_origin(node, weights)) for node, _ in made)])[2:]]
    names = dict(zip([graph.input[0].name, *(output for _, output in made)], given, strict=True))
    roles = ("input", "weight", "bias", *(f"constant_{number}" for number in range(3, 16)))
    for node in graph.node:
        for role, name in zip(roles, node.input, strict=False):
            if name in weights:
                names.setdefault(name, f"{names[node.output[0]]}.{role}")
    return {**names, graph.output[0].name: OUTPUT}


def _origin(node: Any, weights: set[str]) -> str:
    return next((name for name in node.input[1:2] if name in weights and "/" in name), node.name or node.output[0])
