"""TFLite through whichever package this board has."""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError, RuntimeMissingError, first_line
from edge.runtime import NO_DELEGATE, XNNPACK

# The maintained package first: tflite-runtime 2.14 runs INT8 7 to 13 times slower than float on x86. TensorFlow last,
# and only where it is loaded already or nothing else is: it costs 4 s and 480 MB.
LADDER = (
    ("ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
    ("tensorflow", "tensorflow.lite.python.interpreter"),
)


# The two functions of an external delegate (tensorflow/lite/delegates/external/external_delegate_interface.h).
DELEGATE_API = ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate")


class TfliteRuntime:
    """One TFLite interpreter with one input and any number of outputs."""

    def __init__(self, content: bytes, threads: int = 1, delegate: str = XNNPACK) -> None:
        self.name, package = _import_package()
        how = _delegation(package, delegate)
        try:
            self._interpreter = package.Interpreter(model_content=content, num_threads=threads, **how)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            whose = self.name if delegate in (XNNPACK, NO_DELEGATE) else f"{self.name} with the delegate {delegate}"
            raise ModelError(f"not a TFLite model that {whose} can run: {first_line(error)}") from None
        inputs = self._interpreter.get_input_details()
        if len(inputs) != 1:
            raise ModelError(f"the model has {len(inputs)} inputs; one picture is expected")
        self._input, self._outputs = inputs[0], self._interpreter.get_output_details()

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(int(n) for n in self._input["shape"])

    @property
    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(int(n) for n in output["shape"]) for output in self._outputs)

    def encode(self, values: NDArray[np.float32]) -> NDArray[Any]:
        return _quantize(values, self._input)

    def run(self, tensor: NDArray[Any]) -> list[NDArray[np.float32]]:
        whole = tensor if tensor.dtype == self._input["dtype"] else self.encode(tensor)
        self._interpreter.set_tensor(self._input["index"], whole)
        self._interpreter.invoke()
        return [_dequantize(self._interpreter.get_tensor(output["index"]), output) for output in self._outputs]


def _quantize(tensor: NDArray[np.float32], detail: dict[str, Any]) -> NDArray[Any]:
    dtype, (scale, zero) = np.dtype(detail["dtype"]), detail["quantization"]
    if dtype == np.float32:
        return tensor
    limits = np.iinfo(detail["dtype"])
    steps = np.rint(tensor / np.float32(scale)) + zero
    return np.asarray(np.clip(steps, limits.min, limits.max), dtype)


def _dequantize(tensor: NDArray[Any], detail: dict[str, Any]) -> NDArray[np.float32]:
    if tensor.dtype == np.float32:
        return np.asarray(tensor, np.float32)
    scale, zero = detail["quantization"]
    return np.asarray((tensor.astype(np.float32) - np.float32(zero)) * np.float32(scale), np.float32)


def _delegation(package: Any, delegate: str) -> dict[str, Any]:
    """What the interpreter has to be told so that a delegate takes the graph."""
    if delegate == XNNPACK:
        return {}
    if delegate == NO_DELEGATE:
        return {"experimental_op_resolver_type": package.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
    # A bare name such as libedgetpu.so.1 is the loader's to find.
    library = str(Path(delegate).expanduser()) if "/" in delegate else delegate
    # Asked here first: the package's own loader leaves half-made objects behind when one of these is missing.
    try:
        loaded = ctypes.PyDLL(library)
        missing = [name for name in DELEGATE_API if not hasattr(loaded, name)]
        if missing:
            raise ModelError(f"{delegate}: not a TFLite delegate (it has no {missing[0]})")
        return {"experimental_delegates": [package.load_delegate(library)]}
    except OSError as error:
        raise ModelError(f"{delegate}: this delegate cannot be loaded ({first_line(error)})") from None
    except ValueError as error:
        # Its first line repeats the path, the second is what the delegate says.
        raise ModelError(f"{delegate}: this delegate cannot start ({(str(error).splitlines() or ['?'])[-1]})") from None


def _import_package() -> tuple[str, Any]:
    reasons = []
    for package, module in LADDER:
        try:
            found = importlib.import_module(module)
            return f"{package} {_version(package)}", found
        # OSError: a wheel whose libraries want a newer glibc than the board's (ai-edge-litert's tag promises too much).
        except (ImportError, OSError) as error:
            reasons.append(f"{package}: {first_line(error)}")
    if sys.maxsize < 2**32:
        raise RuntimeMissingError("no TFLite runtime exists for a 32-bit system; install the 64-bit system of this board")
    raise RuntimeMissingError(f"no TFLite runtime can be imported; pip install ai-edge-litert ({'; '.join(reasons)})")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(unknown version)"
