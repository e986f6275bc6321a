"""Tensors in, tensors out, for detector and classifier alike."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError


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

    def run(self, tensor: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Real-valued input -> real-valued outputs; the runtime quantizes by the tensors' own scales.

        Args:
            tensor: float32 of `input_shape`.
        """


def open_runtime(content: bytes, suffix: str, threads: int = 1) -> Runtime:
    """Load a network.

    Args:
        content: the model file's bytes, already verified.
        suffix: the file's suffix, which decides the runtime.
        threads: CPU threads of one call.

    Raises:
        ModelError: the bytes are no such model, or the suffix is unknown.
        RuntimeMissingError: no package for it can be imported.
    """
    match suffix:
        case ".tflite":
            from edge.runtime.tflite import TfliteRuntime

            return TfliteRuntime(content, threads)
        case ".onnx":
            from edge.runtime.onnx import OnnxRuntime

            return OnnxRuntime(content, threads)
    raise ModelError(f"a {suffix or 'nameless'} model cannot be run here; edge runs .tflite and .onnx files")
