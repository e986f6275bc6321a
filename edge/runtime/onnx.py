"""ONNX through ONNX Runtime on the CPU."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError, RuntimeMissingError, first_line

# Its log level for errors: warnings are about graphs, which are not the business of whoever runs one.
ERRORS = 3


class OnnxRuntime:
    """One session with one input of a fixed shape and any number of outputs."""

    def __init__(self, content: bytes, threads: int = 1) -> None:
        package = _import()
        self.name = f"onnxruntime {package.__version__}"
        options = package.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = ERRORS
        # Threads that spin for the next call would take the camera's processor.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = package.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001  its exceptions share no base class of their own
            raise ModelError(f"not an ONNX model that {self.name} can run: {first_line(error)}") from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1:
            raise ModelError(f"the model has {len(inputs)} inputs; one picture is expected")
        shapes = [tuple(tensor.shape) for tensor in (*inputs, *outputs)]
        if not all(isinstance(n, int) for shape in shapes for n in shape):
            raise ModelError(f"the model leaves a dimension of {shapes} open; export it with a fixed shape")
        self._input, self.input_shape, self.output_shapes = inputs[0].name, shapes[0], tuple(shapes[1:])

    def encode(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values

    def run(self, tensor: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        return [np.asarray(output, np.float32) for output in self._session.run(None, {self._input: tensor})]


def _import() -> Any:
    try:
        return importlib.import_module("onnxruntime")
    # OSError: a wheel whose libraries want a newer glibc than the board's.
    except (ImportError, OSError) as error:
        raise RuntimeMissingError(
            f".onnx files need onnxruntime: pip install 'emotion-edge[onnx]' ({first_line(error)})"
        ) from None
