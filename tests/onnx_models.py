"""Small ONNX networks of opset 13, which every TensorRT from 8.2 on reads."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge.emotion.classify import Classifier
from edge.emotion.golden import golden_crop
from edge.emotion.manifest import Golden, InputSpec, Manifest, OutputSpec, Quantization, manifest_path
from edge.runtime import open_runtime

SHAPE = (1, 1, 48, 48)


def conv_net(half: bool = False, seed: int = 0, batch: int | str = 1) -> bytes:
    """Convolution, mean, fully connected, softmax over seven classes; a second output gives the features.

    Args:
        half: float16 inside, float32 outside.
        seed: of the weights.
        batch: a number, or a name for an open dimension.
    """
    rng = np.random.default_rng(seed)
    kind = np.float16 if half else np.float32
    weights = {
        "kernel": rng.normal(0, 0.5, (16, 1, 5, 5)).astype(kind),
        "matrix": rng.normal(0, 0.5, (16, 7)).astype(kind),
    }
    before = [helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT16)] if half else []
    after = [helper.make_node("Cast", ["y"], ["scores"], to=TensorProto.FLOAT)] if half else []
    nodes = [
        *before,
        helper.make_node("Conv", ["x" if half else "image", "kernel"], ["a"], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("ReduceMean", ["b"], ["c"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["c", "matrix"], ["d"]),
        helper.make_node("Softmax", ["d"], ["y" if half else "scores"], axis=1),
        *after,
    ]
    features = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (batch, *SHAPE[1:]))],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, (batch, 7)),
            helper.make_tensor_value_info("c", features, (batch, 16)),
        ],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


def qdq_net() -> bytes:
    """`conv_net` with Q/DQ nodes around the convolution's input and weights, as TensorRT wants them."""
    model = onnx.load_from_string(conv_net())
    graph = model.graph
    kernel = next(each for each in graph.initializer if each.name == "kernel")
    scales = np.abs(numpy_helper.to_array(kernel)).max(axis=(1, 2, 3)) / 127
    more = {"step": np.float32(6 / 127), "zero": np.int8(0), "steps": scales, "zeros": np.zeros(16, np.int8)}
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in more.items())
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "step", "zero"], ["image_q"]),
        helper.make_node("DequantizeLinear", ["image_q", "step", "zero"], ["image_dq"]),
        helper.make_node("QuantizeLinear", ["kernel", "steps", "zeros"], ["kernel_q"], axis=0),
        helper.make_node("DequantizeLinear", ["kernel_q", "steps", "zeros"], ["kernel_dq"], axis=0),
        helper.make_node("Conv", ["image_dq", "kernel_dq"], ["a"], strides=[2, 2]),
        *list(graph.node)[1:],
    ]
    del graph.node[:]
    graph.node.extend(nodes)
    return model.SerializeToString()


def write_model(path: Path, content: bytes, quantization: Quantization = "float32") -> Path:
    """An .onnx with the manifest that edge-convert would write: golden scores are those of ONNX Runtime."""
    spec = InputSpec(48, 48, 1, "gray", (127.5,), (1 / 127.5,), layout="NCHW")
    blank = Manifest(
        1,
        path.stem,
        "1.0",
        path.name,
        hashlib.sha256(content).hexdigest(),
        len(content),
        tuple("abcdefg"),
        spec,
        OutputSpec("probabilities"),
        quantization,
        (),
    )
    classifier = Classifier(blank, open_runtime(content, ".onnx"))
    rules = [f"v1:{number}" for number in range(3)]
    golden = tuple(Golden(rule, tuple(classifier.scores(golden_crop(rule, spec)).tolist())) for rule in rules)
    path.write_bytes(content)
    manifest_path(path).write_bytes(msgspec.json.encode(msgspec.structs.replace(blank, golden=golden)))
    return path
