"""What every tensor of a network holds for a picture: what ranges are observed from and noise is measured on."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.choose import Method, Range, choose_range
from calibration.observe import Histogram
from converters.compress.flatbuffer import operators
from edge.errors import DataError

Tensors = Mapping[str, NDArray[np.float32]]
# One picture, float32 (1, ...) as the network takes it -> its tensors by name, the picture itself among them.
Watch = Callable[[NDArray[np.float32]], Tensors]


def observe(watch: Watch, pictures: Iterable[NDArray[np.float32]], method: Method) -> dict[str, Range]:
    """Show pictures to a network and choose the range of each of its tensors.

    Args:
        watch: the network, from `watch_tflite` or `watch_onnx`.
        pictures: float32 (1, ...) each.
        method: see `calibration.choose.choose_range`.

    Raises:
        DataError: a tensor holds a number that is not finite.
    """
    seen: dict[str, Histogram] = {}
    for picture in pictures:
        for name, values in watch(picture).items():
            try:
                seen.setdefault(name, Histogram()).add(values)
            except ValueError as error:
                raise DataError(f"tensor {name!r} holds {error} on a picture that calibrates; the weights are damaged") from None
    return {name: choose_range(histogram, method) for name, histogram in seen.items()}


def watch_tflite(content: bytes) -> Watch:
    """Tensors of a .tflite that depend on its input; those of an INT8 network in the values that they stand for."""
    module = importlib.import_module("ai_edge_litert.interpreter")
    # XNNPACK would keep tensors to itself.
    interpreter = module.Interpreter(
        model_content=content,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]
    computed = {entry["name"], *(name for operator in operators(content) for name in operator.tensors)}
    details = [detail for detail in interpreter.get_tensor_details() if detail["name"] in computed]

    def watch(picture: NDArray[np.float32]) -> Tensors:
        interpreter.set_tensor(entry["index"], _to_whole(picture, entry))
        interpreter.invoke()
        values = ((detail["name"], _to_real(interpreter.get_tensor(detail["index"]), detail)) for detail in details)
        return {name: real for name, real in values if real is not None}

    return watch


def watch_onnx(content: bytes) -> Watch:
    """Float tensors of an ONNX network that depend on its input."""
    import onnx
    import onnxruntime

    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(content))
    known = {output.name for output in model.graph.output}
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for node in model.graph.node
        for name in node.output
        if name not in known and kinds.get(name) == onnx.TensorProto.FLOAT
    )
    options = onnxruntime.SessionOptions()
    # A fused operator would no longer give the tensors between.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    entry, names = session.get_inputs()[0].name, [output.name for output in session.get_outputs()]

    def watch(picture: NDArray[np.float32]) -> Tensors:
        return {entry: picture, **dict(zip(names, session.run(names, {entry: picture}), strict=True))}

    return watch


def _to_real(values: NDArray[Any], detail: Mapping[str, Any]) -> NDArray[np.float32] | None:
    """The numbers that a tensor stands for; None of indices and shapes."""
    if values.dtype == np.float32:
        return values
    scale, zero = detail["quantization"]
    if values.dtype != np.int8 or not scale:
        return None
    return np.asarray((values.astype(np.float32) - np.float32(zero)) * np.float32(scale))


def _to_whole(picture: NDArray[np.float32], detail: Mapping[str, Any]) -> NDArray[Any]:
    if detail["dtype"] == np.float32:
        return picture
    scale, zero = detail["quantization"]
    return np.asarray(np.clip(np.rint(picture / scale) + zero, -128, 127), np.int8)
