"""ONNX on an NVIDIA GPU: an engine in the worker process, and ONNX Runtime on the CPU where that fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge.config import TensorRtSettings
from edge.errors import EngineError
from edge.health import Systemd
from edge.runtime.engines import Engines, Machine, Precision, Record, choose_precision, describe, engine_folder, engine_key
from edge.runtime.onnx import OnnxRuntime
from edge.runtime.trt_process import Waiting, Worker, find_python

if TYPE_CHECKING:
    from edge.runtime import Runtime

log = logging.getLogger(__name__)

# An engine of megabytes and TensorRT's own libraries from an SD card; seconds.
LOAD_LIMIT = 120.0
# The same once more, from the page cache, while the service waits: less than its watchdog; seconds.
RELOAD_LIMIT = 15.0

TYPES = {"FLOAT": np.float32, "HALF": np.float16}


class TensorRtRuntime:
    """One engine with one input.

    A worker that hangs or dies in a call is replaced and asked again, once; then the CPU takes over for good.
    """

    def __init__(
        self, worker: Worker, engine: Path, record: Record, timeout: float, cpu: Callable[[], Runtime] | None = None
    ) -> None:
        """Load an engine.

        Args:
            worker: its process; nobody else's.
            engine: the file.
            record: what it is.
            timeout: of one call, seconds.
            cpu: opens what takes over; without it, a failure is raised.

        Raises:
            EngineError: it does not load.
        """
        self.name = f"tensorrt {record.tensorrt} {record.precision}"
        self._worker, self._timeout, self._open_cpu = worker, timeout, cpu
        self._request = {"do": "load", "engine": str(engine), "outputs": record.outputs}
        self._cpu: Runtime | None = None
        self._load(LOAD_LIMIT)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self._input["shape"])

    @property
    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(output["shape"]) for output in self._outputs)

    @property
    def pid(self) -> int | None:
        """Of the worker process; None once the CPU has taken over."""
        return self._worker.pid

    def encode(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values

    def run(self, tensor: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        if self._cpu is None:
            try:
                return self._run(tensor)
            except EngineError as error:
                log.warning("%s: %s; its process is started again", self.name, error)
            try:
                self._load(RELOAD_LIMIT)
                return self._run(tensor)
            except EngineError as error:
                self._worker.kill()
                if self._open_cpu is None:
                    raise
                log.warning("%s failed twice (%s); from now on the model runs on the CPU", self.name, error)
            self._cpu = self._open_cpu()
            self.name = self._cpu.name
        return self._cpu.run(tensor)

    def close(self) -> None:
        """End the worker process; without it, it ends with this object."""
        self._worker.close()

    def _load(self, limit: float) -> None:
        loaded = self._worker.ask(self._request, limit)[0]
        (self._input,), self._outputs, self._bytes = loaded["inputs"], loaded["outputs"], int(loaded["bytes"])

    def _run(self, tensor: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        area = self._worker.area(self._bytes)
        content = np.ascontiguousarray(tensor, TYPES[self._input["kind"]]).tobytes()
        if len(content) != self._input["size"]:
            raise ValueError(f"a tensor of {tensor.shape} was given, the engine takes {self.input_shape}")
        request = {"do": "run", "bytes": self._bytes}
        if area is None:
            answer = self._worker.ask(request, self._timeout, content)[1]
        else:
            area[: len(content)] = content
            self._worker.ask(request, self._timeout)
            answer = area[: self._bytes]
        return [_tensor(answer, output) for output in self._outputs]


def open_tensorrt(content: bytes, settings: TensorRtSettings, threads: int = 1, model: Path | None = None) -> Runtime:
    """The model on this machine's GPU, from the engine cache or built now; on the CPU where there is no TensorRT or it fails.

    Args:
        content: the .onnx, already verified.
        settings: how.
        threads: of the CPU.
        model: where the content came from.

    Raises:
        ModelError: not a model for the CPU either.
        RuntimeMissingError: neither TensorRT nor ONNX Runtime.
    """
    cpu = partial(OnnxRuntime, content, threads)
    python = find_python(settings.python)
    if python is None:
        return cpu()
    try:
        return open_engine(content, settings, python, model, cpu)
    except EngineError as error:
        log.warning("%s runs on the CPU, not on TensorRT: %s", model or "the model", error)
        return cpu()


def open_engine(
    content: bytes,
    settings: TensorRtSettings,
    python: str,
    model: Path | None = None,
    cpu: Callable[[], Runtime] | None = None,
    building: Callable[[], object] | None = None,
) -> TensorRtRuntime:
    """The model's engine, from the cache or built now.

    Args:
        content: the .onnx, already verified.
        settings: how.
        python: the interpreter that has TensorRT.
        model: where the content came from.
        cpu: opens what takes over when calls fail; without it, they raise EngineError.
        building: called before a build, which may take minutes.

    Raises:
        EngineError: this GPU cannot do it well, or the engine is not built or does not load.
    """
    worker = Worker(python)
    try:
        machine = describe(worker)
        precision = choose_precision(settings.precision, content, machine)
        engines = Engines(engine_folder(settings.cache))
        return _open(engines, worker, machine, precision, content, settings.timeout, model, cpu, building)
    except EngineError:
        worker.kill()
        raise


def _open(
    engines: Engines,
    worker: Worker,
    machine: Machine,
    precision: Precision,
    content: bytes,
    timeout: float,
    model: Path | None,
    cpu: Callable[[], Runtime] | None,
    building: Callable[[], object] | None,
) -> TensorRtRuntime:
    key = engine_key(content, machine, precision)
    record = engines.find(key)
    if record is not None:
        try:
            return TensorRtRuntime(worker, engines.path(key), record, timeout, cpu)
        except EngineError as error:
            log.warning("%s does not load (%s); it is built again", engines.path(key), error)
            engines.remove(key)
    log.info("building a TensorRT engine (%s) of %s for %s: minutes, once", precision, model or "the model", machine.device)
    if building is not None:
        building()
    record = engines.build(worker, machine, content, precision, model, waiting=_starting())
    try:
        return TensorRtRuntime(worker, engines.path(key), record, timeout, cpu)
    except EngineError:
        engines.remove(key)
        raise


def _starting() -> Waiting:
    """Tell a service manager, about once a second, that this start takes longer than it expects."""
    manager = Systemd()
    return lambda past: manager.starting(f"building a TensorRT engine ({past:.0f} s)")


def _tensor(area: bytes, output: dict[str, Any]) -> NDArray[np.float32]:
    part = area[output["offset"] : output["offset"] + output["size"]]
    return np.frombuffer(part, TYPES[output["kind"]]).reshape(output["shape"]).astype(np.float32)
