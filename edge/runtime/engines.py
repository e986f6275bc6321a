"""The engine cache: an engine fits one model, one TensorRT, one GPU, one JetPack and one precision, and is known by them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.errors import EngineError
from edge.places import SYSTEM_CACHE, model_folders
from edge.runtime.trt_process import Waiting, Worker

log = logging.getLogger(__name__)

# A driver that starts, and a build on a Nano, which took others up to half an hour for larger networks; seconds.
DESCRIBE_LIMIT, BUILD_LIMIT = 120.0, 3600.0

# An operator's name in ONNX: field 4 of NodeProto, with its length (onnx/onnx.proto).
QUANTIZE_NODE = b"\x22\x0eQuantizeLinear"

# What can be asked for, and what an engine is. `typed`: TensorRT 11 and later go by the types in the network.
Asked = Literal["auto", "fp32", "fp16", "int8"]
Precision = Literal["fp32", "fp16", "int8", "typed"]


class Machine(msgspec.Struct, frozen=True):
    """What an engine depends on besides its model, as the worker finds it.

    Attributes:
        tensorrt: version. device: the GPU's name. compute_capability: such as 5.3. l4t: of JetPack, empty on other machines.
        flags: whether a build is told its precision; else the network's own types are it.
        fast_fp16, fast_int8: whether the GPU gains by them.
    """

    tensorrt: str
    device: str
    compute_capability: str
    l4t: str
    flags: bool
    fast_fp16: bool
    fast_int8: bool


class Record(msgspec.Struct, frozen=True):
    """What lies beside an engine.

    Attributes:
        key: see `engine_key`; the name of its files.
        onnx: sha256 of the model. model: its path, where it came from a file.
        tensorrt, compute_capability, l4t, device: of the machine that it is for.
        precision: what it was built as. types: of the network's tensors. outputs: their names, in the model's order.
        sha256, bytes: of the engine. seconds: that the build took. built: when, UTC.
        calibration: sha256 of the pictures, where TensorRT calibrated it.
    """

    key: str
    onnx: str
    model: str | None
    tensorrt: str
    compute_capability: str
    l4t: str
    device: str
    precision: Precision
    types: tuple[str, ...]
    outputs: tuple[str, ...]
    sha256: str
    bytes: int
    seconds: float
    built: str
    calibration: str | None = None


def engine_folder(named: str | None = None) -> Path:
    """Where engines are kept: the folder that is named, else the service's, where this user may write there, else the user's."""
    if named:
        return Path(named).expanduser()
    return (SYSTEM_CACHE if os.access(SYSTEM_CACHE, os.W_OK | os.X_OK) else model_folders()[1]) / "engines"


def describe(worker: Worker) -> Machine:
    """Ask the worker what it runs on.

    Raises:
        EngineError: its Python cannot import TensorRT and pycuda, or there is no GPU.
    """
    return msgspec.convert(worker.ask({"do": "describe"}, DESCRIBE_LIMIT)[0], Machine)


def choose_precision(asked: Asked, content: bytes, machine: Machine) -> Precision:
    """What an engine of this model is built as here.

    Args:
        asked: `auto` takes INT8 for a model with Q/DQ nodes, else FP16 where the GPU gains by it.
        content: the .onnx.
        machine: from `describe`.

    Raises:
        EngineError: the GPU has no fast arithmetic of this kind.
    """
    precision: Precision
    if asked != "auto":
        precision = asked
    elif QUANTIZE_NODE in content:
        precision = "int8"
    elif not machine.flags:
        precision = "typed"
    else:
        precision = "fp16" if machine.fast_fp16 else "fp32"
        if precision == "fp32":
            log.warning("%s has no fast FP16: the engine is FP32", machine.device)
    if precision == "int8" and not machine.fast_int8:
        raise EngineError(f"{machine.device} has no fast INT8; take the float .onnx, which becomes FP16 where that is fast")
    if precision == "fp16" and not machine.fast_fp16:
        raise EngineError(f"{machine.device} has no fast FP16; ask for fp32")
    return precision


def engine_key(content: bytes, machine: Machine, precision: Precision) -> str:
    """32 hex digits of the sha256 over model, TensorRT, compute capability, L4T and precision."""
    facts = (sha256(content), machine.tensorrt, machine.compute_capability, machine.l4t, precision)
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]


class Engines:
    """A folder of engines, each with its record, and the timing caches that make the next build faster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Of an engine."""
        return self.folder / f"{key}.engine"

    def records(self) -> list[Record]:
        """Every record that can be read, the newest first."""
        found = [self._read(path) for path in self.folder.glob("*.json")] if self.folder.is_dir() else []
        return sorted((record for record in found if record is not None), key=lambda record: record.built, reverse=True)

    def find(self, key: str) -> Record | None:
        """The record of an engine that is there and whole; what is damaged is deleted."""
        record = self._read(self.folder / f"{key}.json")
        if record is not None and self.whole(record):
            return record
        if record is not None or self.path(key).exists():
            log.warning("%s is damaged; it is built again", self.path(key))
            self.remove(key)
        return None

    def whole(self, record: Record) -> bool:
        """Whether the engine's bytes are those that were built."""
        try:
            return sha256(self.path(record.key).read_bytes()) == record.sha256
        except OSError:
            return False

    def remove(self, key: str) -> None:
        """Delete an engine and its record."""
        with contextlib.suppress(OSError):
            self.path(key).unlink(missing_ok=True)
            (self.folder / f"{key}.json").unlink(missing_ok=True)

    def build(
        self,
        worker: Worker,
        machine: Machine,
        content: bytes,
        precision: Precision,
        model: Path | None = None,
        calibration: NDArray[np.float32] | None = None,
        waiting: Waiting | None = None,
    ) -> Record:
        """Build an engine and its record; the engine is complete before its record is there.

        Args:
            worker: builds.
            machine: from `describe`.
            content: the .onnx.
            precision: from `choose_precision`.
            model: where the content came from.
            calibration: float32 (N, *input), as the network sees them, for INT8 of a model without Q/DQ nodes.
            waiting: called about once a second.

        Raises:
            EngineError: TensorRT cannot build it, or the folder cannot be written.
        """
        key, onnx = engine_key(content, machine, precision), sha256(content)
        pictures = self.folder / f"{key}.pictures"
        request = {
            "do": "build",
            "precision": precision,
            "engine": str(self.path(key)),
            "timing": str(self.folder / f"{machine.tensorrt}-sm{machine.compute_capability}.timing"),
            "ranges": str(self.folder / f"{onnx[:32]}.ranges"),
            "calibration": None if calibration is None else str(pictures),
        }
        try:
            with self._locked():
                if calibration is not None:
                    pictures.write_bytes(np.ascontiguousarray(calibration, np.float32).tobytes())
                built: dict[str, Any] = worker.ask(request, BUILD_LIMIT, content, waiting)[0]
                engine = self.path(key).read_bytes()
                record = Record(
                    key,
                    onnx,
                    None if model is None else str(model.resolve()),
                    machine.tensorrt,
                    machine.compute_capability,
                    machine.l4t,
                    machine.device,
                    precision,
                    tuple(built["types"]),
                    tuple(built["outputs"]),
                    sha256(engine),
                    len(engine),
                    round(built["seconds"], 1),
                    time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    None if calibration is None else sha256(calibration.tobytes()),
                )
                part = self.folder / f"{key}.json.part"
                part.write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
                part.replace(self.folder / f"{key}.json")
        except OSError as error:
            raise EngineError(f"{error.filename or self.folder}: cannot be written ({error.strerror})") from None
        finally:
            for left in (pictures, self.folder / f"{key}.engine.part"):
                with contextlib.suppress(OSError):
                    left.unlink(missing_ok=True)
        return record

    def _read(self, path: Path) -> Record | None:
        try:
            return msgspec.json.decode(path.read_bytes(), type=Record)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # Two builds of one engine would mix one's engine with the other's record.
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def sha256(content: bytes) -> str:
    """Hex."""
    return hashlib.sha256(content).hexdigest()
