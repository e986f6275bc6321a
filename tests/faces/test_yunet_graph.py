"""YuNet out of other ONNX files than those at hand: fewer channels, no layer that the heads share, other ways to write it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge.errors import ModelError
from edge.faces.yunet_graph import KINDS, STRIDES, VALUES, YuNetGraph
from edge.runtime.tflite import TfliteRuntime

HEIGHT, WIDTH = 64, 96
# Of the stages of the smaller YuNet of its authors (libfacedetection.train, configs/yunet_s.py), an eighth.
STAGES = ((2, 2), (2, 4), (4, 8), (8, 8), (8, 8), (8, 8))
# As its exporter names them (OpenCV's FaceDetectorYN looks for the same).
OUTPUTS = [
    helper.make_tensor_value_info(f"{kind}_{stride}", TensorProto.FLOAT, [1, HEIGHT * WIDTH // stride**2, values])
    for kind, values in KINDS.items()
    for stride in STRIDES
]


class Network:
    """YuNet with random weights.

    Args:
        terse: attributes at their defaults are left out, and weights are Constant nodes with a field for each number.
        dynamic: it computes the shapes of its tables, as an export for pictures of any size does.
        resize: attributes of Resize.
        extra: a Sigmoid behind bbox and kps too.
    """

    def __init__(
        self, terse: bool = False, dynamic: bool = False, resize: dict[str, str] | None = None, extra: bool = False
    ) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._terse, self._draw, self._count = terse, np.random.default_rng(3), 0
        features = self._body("input")
        for level in (2, 1):
            features[level] = self.unit(features[level], 8, 8)
            scales = self.constant(np.array([1, 1, 2, 2], np.float32))
            larger = self.node(
                "Resize", features[level], self.constant(np.empty(0, np.float32)), scales, mode="nearest", **(resize or {})
            )
            features[level - 1] = self.node("Add", features[level - 1], larger)
        features[0] = self.unit(features[0], 8, 8)
        for feature, stride in zip(features, STRIDES, strict=True):
            for kind, values in KINDS.items():
                rows = self.node("Transpose", self.unit(feature, 8, values, relu=False), perm=[0, 2, 3, 1])
                shape = self.constant(np.array([1, -1, values], np.int64))
                if dynamic:
                    first = self.node("Gather", self.node("Shape", feature), self.constant(np.array([0], np.int64)), axis=0)
                    rest = self.node("Constant", value_ints=[-1, values])
                    shape = self.node("Concat", self.node("Identity", first), rest, axis=0)
                last = kind in ("bbox", "kps") and not extra
                rows = self.node("Reshape", rows, shape, name=f"{kind}_{stride}" if last else None)
                if not last:
                    self.node("Sigmoid", rows, name=f"{kind}_{stride}")

    def _body(self, source: str) -> list[str]:
        result = self.node("Relu", self.convolution(source, 3, STAGES[0][0], 3, stride=2))
        result, found = self.unit(result, *STAGES[0]), []
        for number, (entering, leaving) in enumerate(STAGES[1:], 1):
            if number in (1, 3, 4, 5):
                result = self.node(
                    "MaxPool", result, kernel_shape=[2, 2], strides=[2, 2], **self.usual(pads=[0] * 4, ceil_mode=0)
                )
            result = self.unit(self.unit(result, entering, entering), entering, leaving)
            found += [result] if number >= 3 else []
        return found

    def unit(self, source: str, entering: int, leaving: int, relu: bool = True) -> str:
        mixed = self.convolution(source, entering, leaving, 1)
        smooth = self.convolution(mixed, leaving, leaving, 3, groups=leaving)
        return self.node("Relu", smooth) if relu else smooth

    def convolution(self, source: str, entering: int, leaving: int, side: int, stride: int = 1, groups: int = 1) -> str:
        shape = (leaving, entering // groups, side, side)
        weights = self._draw.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
        bias = self._draw.normal(0, 0.1, leaving).astype(np.float32)
        given = self.usual(dilations=[1, 1], kernel_shape=[side] * 2)
        given |= self.usual(group=1) if groups == 1 else {"group": groups}
        given |= self.usual(strides=[1, 1]) if stride == 1 else {"strides": [stride] * 2}
        given |= self.usual(pads=[0] * 4) if side == 1 else {"pads": [side // 2] * 4}
        return self.node("Conv", source, self.constant(weights), self.constant(bias), **given)

    def usual(self, **attributes: Any) -> dict[str, Any]:
        """What a node does anyway."""
        return {} if self._terse else attributes

    def constant(self, values: np.ndarray) -> str:
        name = self._name()
        if self._terse:
            kind = TensorProto.FLOAT if values.dtype == np.float32 else TensorProto.INT64
            tensor = helper.make_tensor(name, kind, values.shape, values.reshape(-1).tolist())
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            self.weights.append(numpy_helper.from_array(values, name))
        return name

    def node(self, operator: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        name = name or self._name()
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def _name(self) -> str:
        self._count += 1
        return str(self._count)

    def content(self) -> bytes:
        picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])
        graph = helper.make_graph(self.nodes, "yunet", [picture], OUTPUTS, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())


WAYS: dict[str, dict[str, Any]] = {
    "at length": {},
    "terse": {"terse": True},
    "for any size": {"dynamic": True},
    "as torch resizes": {"resize": {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}},
}


@pytest.mark.parametrize("way", WAYS)
def test_the_numbers_are_those_of_onnx_runtime(way: str) -> None:
    content = Network(**WAYS[way]).content()
    # Darker than any picture: the sigmoids of random weights must not all be 0 or 1.
    picture = np.random.default_rng(0).uniform(0, 0.3, (HEIGHT, WIDTH, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(content)
    names = [output.name for output in session.get_outputs()]
    expected = dict(zip(names, session.run(None, {"input": picture.transpose(2, 0, 1)[None]}), strict=True))
    runtime = TfliteRuntime(YuNetGraph(content).sized(HEIGHT, WIDTH))
    tensor = np.zeros((1, HEIGHT + 1, WIDTH + 1, 3), np.float32)
    tensor[0, 1:, 1:] = picture
    found = {result.shape[1:3]: result.reshape(-1, VALUES) for result in runtime.run(tensor)}
    for stride in STRIDES:
        rows = found[HEIGHT // stride, WIDTH // stride]
        assert rows.std() > 0.5, "else any network would do"
        rows[:, :2] = 1 / (1 + np.exp(-rows[:, :2]))
        together = np.concatenate([expected[f"{kind}_{stride}"][0] for kind in KINDS], axis=1)
        np.testing.assert_allclose(rows, together, rtol=1e-4, atol=1e-4 * np.abs(together).max())


OTHERS: dict[str, dict[str, Any]] = {
    "Resize by asymmetric and ceil": {"resize": {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "ceil"}},
    "bbox_8 is made in another way": {"extra": True},
}


@pytest.mark.parametrize("words", OTHERS)
def test_what_computes_something_else_is_refused(words: str) -> None:
    with pytest.raises(ModelError, match=words):
        YuNetGraph(Network(**OTHERS[words]).content()).sized(HEIGHT, WIDTH)


def test_what_is_missing_is_named() -> None:
    network = Network()
    network.weights = network.weights[1:]
    graph = helper.make_graph(network.nodes, "yunet", [], OUTPUTS, network.weights)
    with pytest.raises(ModelError, match="it lacks '1'"):
        YuNetGraph(helper.make_model(graph).SerializeToString()).sized(HEIGHT, WIDTH)


def test_a_circle_of_nodes_is_refused() -> None:
    network = Network()
    for node in network.nodes:
        if node.op_type == "Sigmoid":
            node.input[0] = node.output[0]
    graph = helper.make_graph(network.nodes, "yunet", [], OUTPUTS, network.weights)
    with pytest.raises(ModelError, match="stands in a circle"):
        YuNetGraph(helper.make_model(graph).SerializeToString())
