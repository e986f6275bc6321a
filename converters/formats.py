"""What a network can be converted to: one line a format, from its flag to its file."""

from __future__ import annotations

from typing import NamedTuple

from edge.emotion.manifest import Quantization


class Format(NamedTuple):
    """One format.

    Attributes:
        flag: of edge-convert, without its dashes; also the format's name in reports.
        quantization: what the manifest says.
        tag, suffix: of the file: model.TAG.suffix; without a tag model.suffix.
        says: for --help.
    """

    flag: str
    quantization: Quantization
    tag: str
    suffix: str
    says: str

    @property
    def whole(self) -> bool:
        """Whether its numbers are whole, so that pictures decide their ranges."""
        return self.quantization in ("int8", "int8-qdq")


FORMATS = {
    line.flag: line
    for line in (
        Format("int8", "int8", "int8", ".tflite", "TFLite, whole numbers only: small and fast"),
        Format("fp16", "float16", "fp16", ".tflite", "TFLite, half-precision weights"),
        Format("dynamic", "int8-dynamic", "dynamic", ".tflite", "TFLite, INT8 weights, float arithmetic"),
        Format("fp32", "float32", "fp32", ".tflite", "TFLite as it is"),
        Format("onnx-fp32", "float32", "", ".onnx", "ONNX, opset 13, as it is"),
        Format("onnx-int8", "int8-qdq", "qdq", ".onnx", "ONNX with INT8 scales (Q/DQ), from which TensorRT makes INT8"),
    )
}
# Flags that stand for several formats.
SEVERAL = {"onnx": ("onnx-fp32", "onnx-int8"), "tensorrt": ("onnx-fp32", "onnx-int8")}
