"""Tensors in, tensors out, for detector and classifier alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.config import TensorRtSettings
from edge.errors import ModelError

# Delegates of TFLite that need no file: its own fast kernels, which are its default, or none.
XNNPACK, NO_DELEGATE = "xnnpack", "none"


class Runtime(Protocol):
    """A loaded network with one input. Not safe to share between threads: open one per thread."""

    @property
    def name(self) -> str:
        """Package and version, such as `ai-edge-litert 2.3.0`."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one call's input, such as (1, 48, 48, 1)."""

    @property
    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the outputs."""

    def encode(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Real values, of any shape, as the input tensor holds them: by its scale where it holds whole numbers."""

    def run(self, tensor: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Input -> real-valued outputs.

        Args:
            tensor: of `input_shape`; float32, or encoded already.
        """


def open_runtime(
    content: bytes,
    suffix: str,
    threads: int = 1,
    delegate: str = XNNPACK,
    tensorrt: TensorRtSettings | None = None,
    model: Path | None = None,
) -> Runtime:
    """Load a network.

    Args:
        content: the model file's bytes, already verified.
        suffix: the file's suffix, which decides the runtime.
        threads: CPU threads of one call.
        delegate: who computes a .tflite: XNNPACK, NO_DELEGATE, or the library of an external delegate. Others have none.
        tensorrt: whether and how an .onnx runs on TensorRT, where that is installed; without it, on the CPU.
        model: the file that the content came from, which an engine's record names.

    Raises:
        ModelError: the bytes are no such model, the suffix is unknown, or the delegate does not load or take it.
        RuntimeMissingError: no package for it can be imported.
    """
    if suffix != ".tflite" and delegate not in (XNNPACK, NO_DELEGATE):
        raise ModelError(f"the delegate {delegate} is for .tflite files, not for {suffix or 'nameless'} ones")
    match suffix:
        case ".tflite":
            from edge.runtime.tflite import TfliteRuntime

            return TfliteRuntime(content, threads, delegate)
        case ".onnx":
            if tensorrt is not None and tensorrt.use == "auto":
                from edge.runtime.tensorrt import open_tensorrt

                return open_tensorrt(content, tensorrt, threads, model)
            from edge.runtime.onnx import OnnxRuntime

            return OnnxRuntime(content, threads)
    raise ModelError(f"a {suffix or 'nameless'} model cannot be run here; edge runs .tflite and .onnx files")
