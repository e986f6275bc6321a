"""TensorRT in a process of its own: builds engines from ONNX and runs them, as `edge.runtime.trt_process` asks.

One file in the syntax of Python 3.6 that needs nothing of this project: JetPack 4 has TensorRT for its own Python 3.6 alone.
TensorRT 8.2 to 11 are told apart by what their classes have, never by their version.

A request on standard input is answered on standard output, a frame each: four bytes of length (big-endian), so much JSON,
then as many bytes as its key `payload` says. Tensors lie in a memory file whose descriptor is the first argument; without
one (`-`) they are payload. The end of standard input ends the process, whatever it is doing.
"""

import importlib
import json
import mmap
import os
import queue
import re
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO, Dict, List, Optional, Tuple

# Bytes an element, of the types that go in and out.
SIZES = {"FLOAT": 4, "HALF": 2}

# Scratch memory of a build, bytes: a quarter of a gigabyte is plenty for networks of this size and spares a 4 GB board.
WORKSPACE = 1 << 28

# Tensors begin at multiples of it in the memory file, bytes.
ALIGNMENT = 64

RELEASE = Path("/etc/nv_tegra_release")


class RefusedError(Exception):
    """What was asked cannot be done; the message says why."""


class Port:
    """A tensor that goes in or out: where it lies on the device, in page-locked memory, and in the memory file."""

    def __init__(self, name: str, shape: Tuple[int, ...], kind: str, is_input: bool) -> None:
        if kind not in SIZES:
            raise RefusedError(f"its tensor {name} is {kind}; float32 and float16 are expected")
        self.name, self.shape, self.kind, self.is_input = name, shape, kind, is_input
        self.size, self.offset = SIZES[kind], 0
        for length in shape:
            self.size *= length
        self.host = None  # type: Any
        self.device = None  # type: Any

    def facts(self) -> Dict[str, Any]:
        return {"name": self.name, "shape": self.shape, "kind": self.kind, "offset": self.offset, "size": self.size}


class Session:
    """The packages, the device, and the engine that is loaded."""

    def __init__(self, tensors: Optional[int]) -> None:
        try:
            self.trt, self.cuda = importlib.import_module("tensorrt"), importlib.import_module("pycuda.driver")
            self.numpy = importlib.import_module("numpy")
        except (ImportError, OSError) as error:
            raise RefusedError(f"{sys.executable} cannot import TensorRT and pycuda ({error})") from None
        cuda = self.cuda
        cuda.init()
        self.gpu = cuda.Device(0)
        self.scope = self.gpu.make_context()
        self.logger = make_logger(self.trt)
        self.trt.init_libnvinfer_plugins(self.logger, "")
        self.tensors, self.area = tensors, None  # type: Optional[int], Any
        self.runtime = self.engine = self.context = self.stream = None  # type: Any
        self.ports = []  # type: List[Port]

    def describe(self) -> Dict[str, Any]:
        trt, gpu = self.trt, self.gpu
        builder = trt.Builder(self.logger)
        return {
            "tensorrt": trt.__version__,
            "device": gpu.name(),
            "compute_capability": "{}.{}".format(*gpu.compute_capability()),
            "l4t": l4t(RELEASE.read_text()) if RELEASE.is_file() else "",
            # Without these flags the types in the network are the precision, and every GPU that is still served has both.
            "flags": hasattr(trt.BuilderFlag, "FP16"),
            "fast_fp16": bool(builder.platform_has_fast_fp16) if hasattr(builder, "platform_has_fast_fp16") else True,
            "fast_int8": bool(builder.platform_has_fast_int8) if hasattr(builder, "platform_has_fast_int8") else True,
        }

    def build(self, request: Dict[str, Any], onnx: bytes) -> Dict[str, Any]:
        trt, began = self.trt, time.monotonic()
        builder = trt.Builder(self.logger)
        if hasattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH"):
            network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
        else:
            network = builder.create_network()
        parser = trt.OnnxParser(network, self.logger)
        if not parser.parse(onnx):
            problems = [parser.get_error(index) for index in range(parser.num_errors)]
            raise RefusedError(
                "TensorRT cannot read the model ({})".format("; ".join(problem.desc() for problem in problems[:3]))
            )
        if network.num_inputs != 1:
            raise RefusedError(f"the model has {network.num_inputs} inputs; one picture is expected")
        tensor = network.get_input(0)
        if min(tensor.shape) < 1:
            raise RefusedError(f"the model leaves a dimension of {tuple(tensor.shape)} open; export it with a fixed shape")
        config = builder.create_builder_config()
        if hasattr(config, "set_memory_pool_limit"):
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE)
        else:
            config.max_workspace_size = WORKSPACE
        types = self.set_precision(builder, network, config, request)
        cache = config.create_timing_cache(read_if_there(request["timing"]))
        if cache is None or not config.set_timing_cache(cache, False):
            config.set_timing_cache(config.create_timing_cache(b""), False)
        # A timing cache that does not fit is complained of, and no reason.
        self.logger.forget()
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise RefusedError(f"TensorRT cannot build an engine of the model ({self.logger.reason()})")
        write(request["engine"], plan)
        cache = config.get_timing_cache()
        if cache is not None:
            write(request["timing"], cache.serialize())
        outputs = [network.get_output(index) for index in range(network.num_outputs)]
        return {"outputs": [tensor.name for tensor in outputs], "types": types, "seconds": time.monotonic() - began}

    def set_precision(self, builder: Any, network: Any, config: Any, request: Dict[str, Any]) -> List[str]:
        """Flags where they exist; else hold the network's own types against what was asked for. Returns those types."""
        trt, precision = self.trt, request["precision"]
        layers = [network.get_layer(index) for index in range(network.num_layers)]
        quantized = any(layer.type == trt.LayerType.QUANTIZE for layer in layers)
        tensors = [layer.get_output(index) for layer in layers for index in range(layer.num_outputs)]
        types = {tensor.dtype.name for tensor in tensors if tensor is not None}
        if quantized and precision in ("fp32", "fp16"):
            raise RefusedError(f"the model has Q/DQ nodes, so it is INT8 and not {precision}; take its float .onnx")
        if hasattr(trt.BuilderFlag, "FP16"):
            if precision == "int8":
                config.set_flag(trt.BuilderFlag.INT8)
                if not quantized:
                    config.int8_calibrator = self.calibrator(network, request)
            if precision != "fp32" and builder.platform_has_fast_fp16:
                config.set_flag(trt.BuilderFlag.FP16)
        elif precision == "int8" and not quantized:
            raise RefusedError("this TensorRT makes INT8 of Q/DQ nodes alone, and the model has none; take its .qdq.onnx")
        elif precision == "fp16" and "HALF" not in types:
            raise RefusedError(
                "this TensorRT makes FP16 of float16 models alone, and the model is float32; convert it to float16"
            )
        elif precision == "fp32" and "HALF" in types:
            raise RefusedError("the model is float16, and this TensorRT goes by its types; take the float32 .onnx")
        return sorted(types)

    def calibrator(self, network: Any, request: Dict[str, Any]) -> Any:
        self.calibrating = make_calibrator(self.trt, self.cuda, request["calibration"], request["ranges"])
        tensor = network.get_input(0)
        port = Port(tensor.name, tuple(tensor.shape), tensor.dtype.name, True)
        if not self.calibrating.prepare(port.size):
            raise RefusedError("the model has no Q/DQ nodes, so INT8 needs pictures to calibrate with, as many numbers each "
                               f"as {port.shape}")  # fmt: skip
        return self.calibrating

    def load(self, request: Dict[str, Any]) -> Dict[str, Any]:
        trt, cuda = self.trt, self.cuda
        self.runtime = trt.Runtime(self.logger)
        engine = self.runtime.deserialize_cuda_engine(Path(request["engine"]).read_bytes())
        if engine is None:
            raise RefusedError(f"TensorRT cannot load the engine ({self.logger.reason()})")
        context = engine.create_execution_context()
        if context is None:
            raise RefusedError(f"the GPU has no room for the engine ({self.logger.reason()})")
        if hasattr(engine, "num_io_tensors"):
            names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
            kinds = [engine.get_tensor_dtype(name).name for name in names]
            shapes = [tuple(engine.get_tensor_shape(name)) for name in names]
            inputs = [engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names]
        else:
            count = range(engine.num_bindings)
            names = [engine.get_binding_name(index) for index in count]
            kinds = [engine.get_binding_dtype(index).name for index in count]
            shapes = [tuple(engine.get_binding_shape(index)) for index in count]
            inputs = [engine.binding_is_input(index) for index in count]
        # Bindings are handed over in the engine's order, so it stays.
        self.ports = [Port(*facts) for facts in zip(names, shapes, kinds, inputs)]  # noqa: B905  not in 3.6
        self.engine, self.context, self.stream, self.area = engine, context, cuda.Stream(), None
        end, found = 0, {port.name: port for port in self.ports}
        outputs = [found[name] for name in request["outputs"]]
        for port in [port for port in self.ports if port.is_input] + outputs:
            port.offset, end = end, end + -(-port.size // ALIGNMENT) * ALIGNMENT
        for port in self.ports:
            port.device, port.host = cuda.mem_alloc(port.size), cuda.pagelocked_empty(port.size, self.numpy.uint8)
            port.host[:] = 0
            if hasattr(context, "set_tensor_address"):
                context.set_tensor_address(port.name, int(port.device))
        # The first run loads kernels: it belongs to loading, not to the first picture.
        self.execute()
        return {"inputs": [p.facts() for p in self.ports if p.is_input], "outputs": [p.facts() for p in outputs], "bytes": end}

    def execute(self) -> None:
        """From page-locked memory to page-locked memory."""
        cuda, context, stream = self.cuda, self.context, self.stream
        for port in self.ports:
            if port.is_input:
                cuda.memcpy_htod_async(port.device, port.host, stream)
        if hasattr(context, "execute_async_v3"):
            done = context.execute_async_v3(stream.handle)
        else:
            done = context.execute_async_v2([int(port.device) for port in self.ports], stream.handle)
        for port in self.ports:
            if not port.is_input:
                cuda.memcpy_dtoh_async(port.host, port.device, stream)
        stream.synchronize()
        if not done:
            raise RuntimeError(f"TensorRT did not run the engine ({self.logger.reason()})")

    def run(self, request: Dict[str, Any], payload: bytes) -> bytes:
        size = request["bytes"]
        if self.area is None:
            self.area = bytearray(size) if self.tensors is None else mmap.mmap(self.tensors, size)
        if payload:
            self.area[: len(payload)] = payload
        for port in self.ports:
            if port.is_input:
                part = self.area[port.offset : port.offset + port.size]
                port.host[:] = self.numpy.frombuffer(part, self.numpy.uint8)
        self.execute()
        for port in self.ports:
            if not port.is_input:
                self.area[port.offset : port.offset + port.size] = port.host.tobytes()
        return b"" if self.tensors is not None else bytes(self.area)


def make_logger(trt: Any) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc]
        """Warnings go to standard error; the first error since `forget` is kept: TensorRT says why nowhere else."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.first = ""

        def log(self, severity: Any, msg: str) -> None:
            if int(severity) <= int(trt.Logger.ERROR):
                self.first = self.first or msg
            if int(severity) <= int(trt.Logger.WARNING):
                sys.stderr.write(f"TensorRT: {msg}\n")

        def forget(self) -> None:
            self.first = ""

        def reason(self) -> str:
            return (self.first.strip().splitlines() or ["it gives no reason"])[0][:300]

    return Log()


def make_calibrator(trt: Any, cuda: Any, data: Optional[str], ranges: str) -> Any:
    """TensorRT's entropy calibration; `data` holds the pictures as raw numbers, `ranges` keeps what was found."""

    class Calibrator(trt.IInt8EntropyCalibrator2):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)
            self.file = open(data, "rb") if data else None  # noqa: PTH123, SIM115
            self.size, self.device = 0, None  # type: int, Any

        def prepare(self, size: int) -> bool:
            """Whether there are whole pictures of so many bytes, or ranges from an earlier time."""
            self.size, self.device = size, cuda.mem_alloc(size)
            length = os.fstat(self.file.fileno()).st_size if self.file else 0
            return bool(length and length % size == 0) or bool(not self.file and read_if_there(ranges))

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: List[str]) -> Optional[List[int]]:  # noqa: ARG002  TensorRT's signature
            picture = self.file.read(self.size) if self.file else b""
            if not picture:
                return None
            cuda.memcpy_htod(self.device, picture)
            return [int(self.device)]

        def read_calibration_cache(self) -> Optional[bytes]:
            # Pictures that were given are meant to be looked at.
            return None if self.file else read_if_there(ranges) or None

        def write_calibration_cache(self, found: Any) -> None:
            write(ranges, bytes(found))

    return Calibrator()


def l4t(release: str) -> str:
    """`# R32 (release), REVISION: 7.4, …` -> 32.7.4"""
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", release)
    return f"{found.group(1)}.{found.group(2)}" if found else ""


def read_if_there(path: str) -> bytes:
    return Path(path).read_bytes() if Path(path).is_file() else b""


def write(path: str, content: Any) -> None:
    """Whole or not at all."""
    part = f"{path}.part"
    with open(part, "wb") as file:  # noqa: PTH123
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)  # noqa: PTH105


def read_frame(pipe: BinaryIO) -> Optional[Tuple[Dict[str, Any], bytes]]:
    head = pipe.read(4)
    body = pipe.read(struct.unpack(">I", head)[0]) if len(head) == 4 else b""
    return (json.loads(body.decode()), pipe.read(json.loads(body.decode()).get("payload", 0))) if body else None


def send_frame(pipe: BinaryIO, answer: Dict[str, Any], payload: bytes) -> None:
    body = json.dumps(dict(answer, payload=len(payload))).encode()
    pipe.write(struct.pack(">I", len(body)) + body + payload)
    pipe.flush()


def listen(pipe: BinaryIO, requests: Any) -> None:
    while True:
        frame = read_frame(pipe)
        if frame is None:
            # Whoever asked is gone, so nobody waits for a build that would take minutes.
            os._exit(0)
        requests.put(frame)


def answer(session: List[Session], tensors: Optional[int], request: Dict[str, Any], blob: bytes) -> Tuple[Dict[str, Any], bytes]:
    if not session:
        session.append(Session(tensors))
    session[0].logger.forget()
    if request["do"] == "run":
        return {}, session[0].run(request, blob)
    if request["do"] == "load":
        return session[0].load(request), b""
    return (session[0].build(request, blob) if request["do"] == "build" else session[0].describe()), b""


def main() -> None:
    # This folder holds modules that are named tensorrt and onnx, and would hide the packages.
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [place for place in sys.path if str(Path(place).resolve()) != here]
    tensors = None if sys.argv[1] == "-" else int(sys.argv[1])
    # Libraries print on descriptor 1: it becomes the log, and answers go out on a copy.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests, session = queue.Queue(), []  # type: Any, List[Session]
    threading.Thread(target=listen, args=(sys.stdin.buffer, requests), daemon=True).start()
    while True:
        request, blob = requests.get()
        if request["do"] == "close":
            break
        try:
            done, payload = answer(session, tensors, request, blob)
        except RefusedError as error:
            done, payload = {"error": str(error)}, b""
        except Exception as error:  # noqa: BLE001  CUDA's errors outlive the call, so whoever asked starts another process
            done, payload = {"error": f"{type(error).__name__}: {error}", "broken": True}, b""
        send_frame(out, done, payload)
    for each in session:
        each.scope.pop()
        each.scope.detach()
    os._exit(0)


if __name__ == "__main__":
    main()
