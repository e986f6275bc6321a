"""Which formats fit which board, and why. What is fastest on one's own board `edge-bench` finds out there."""

from __future__ import annotations

from typing import NamedTuple


class Target(NamedTuple):
    """A board.

    Attributes:
        board: its name for people.
        formats: keys of `converters.formats.FORMATS`, the one to run first.
        why: one sentence.
        then: what to do on the board with `{model}`, the path of the first artifact.
        slow: formats that run there but cost time, each with the reason.
    """

    board: str
    formats: tuple[str, ...]
    why: str
    then: str
    slow: tuple[tuple[str, str], ...] = ()


_MEASURE = "copy it with its .json to the board; edge-bench {model} measures it there"
_NANO = "the Jetson Nano's GPU has no fast INT8 (compute capability 5.3)"

TARGETS = {
    "pi4": Target(
        "Raspberry Pi 4",
        ("int8", "fp32"),
        "INT8 is a quarter of the size; its Cortex-A72 has no dot-product instructions, so float may be as fast: both are made",
        _MEASURE,
    ),
    "pi5": Target(
        "Raspberry Pi 5",
        ("int8",),
        "its Cortex-A76 has dot-product instructions for INT8, which XNNPACK uses",
        _MEASURE,
    ),
    "jetson-nano": Target(
        "Jetson Nano",
        ("onnx-fp32",),
        f"{_NANO} and TensorRT 8.2 refuses Q/DQ nodes there, so the engine is built as FP16 from float ONNX",
        "on the board: edge-engine build {model} --precision fp16",
        (("onnx-int8", f"{_NANO} and TensorRT refuses Q/DQ nodes there"), ("int8", f"{_NANO}; a .tflite runs on its processor")),
    ),
    "jetson-orin": Target(
        "Jetson Orin",
        ("onnx-int8", "onnx-fp32"),
        "its GPU is fastest in INT8, by the scales in the Q/DQ file; the float file is there for FP16, should INT8 not pass",
        "on the board: edge-engine build {model} --precision int8",
        (("int8", "a .tflite runs on its processor, not on its GPU"),),
    ),
}
