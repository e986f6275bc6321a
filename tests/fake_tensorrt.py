"""TensorRT's Python API in four generations, 8.2, 8.6, 10 and 11, which computes with ONNX Runtime; in the syntax of Python 3.6.

`become` makes a module named tensorrt of one generation; what that one lacks is not there at all. What is here and what is
lacking is held against the real bindings by test_tensorrt_names.py. The rules that a caller can break are kept: an explicit
batch in 8.2, flags for FP16 and INT8 below 11, none from 11 on, engines of another version do not load.

FAKE_TROUBLE names a folder: a file `hang-run` there makes the next run hang, or as many as it says; so do `die-`, `fail-` and
`slow-`, and `-build` and `-load`. A GPU that is `wrong` computes something else.
"""

import ctypes
import enum
import hashlib
import json
import os
import signal
import time
from pathlib import Path

import fake_pycuda
import numpy
import onnx
import onnxruntime
from onnx import numpy_helper, shape_inference

VERSIONS = {"8.2": "8.2.1.9", "8.6": "8.6.1", "10": "10.3.0", "11": "11.4.0.106"}
NAMED_TENSORS = ("num_io_tensors", "get_tensor_name", "get_tensor_mode", "get_tensor_shape", "get_tensor_dtype")
BINDINGS = ("num_bindings", "get_binding_name", "get_binding_shape", "get_binding_dtype", "binding_is_input")
# Class (or "" for the module) -> what a generation lacks of what is below.
LACKS = {
    "8.2": {
        "": ("MemoryPoolType", "TensorIOMode"),
        "DataType": ("UINT8", "INT64"),
        "IBuilderConfig": ("set_memory_pool_limit",),
        "ICudaEngine": NAMED_TENSORS,
        "IExecutionContext": ("set_tensor_address", "execute_async_v3"),
    },
    "8.6": {"DataType": ("INT64",)},
    "10": {"IBuilderConfig": ("max_workspace_size",), "ICudaEngine": BINDINGS, "IExecutionContext": ("execute_async_v2",)},
    "11": {
        "": ("IInt8EntropyCalibrator2",),
        "Builder": ("platform_has_fast_fp16", "platform_has_fast_int8"),
        "BuilderFlag": ("FP16", "INT8"),
        "NetworkDefinitionCreationFlag": ("EXPLICIT_BATCH",),
        "IBuilderConfig": ("max_workspace_size", "int8_calibrator"),
        "ICudaEngine": BINDINGS,
        "IExecutionContext": ("execute_async_v2",),
    },
}
ENUMS = {
    "BuilderFlag": {"FP16": 0, "INT8": 1, "TF32": 7},
    "NetworkDefinitionCreationFlag": {"EXPLICIT_BATCH": 0},
    "MemoryPoolType": {"WORKSPACE": 0},
    "TensorIOMode": {"NONE": 0, "INPUT": 1, "OUTPUT": 2},
    "DataType": {"FLOAT": 0, "HALF": 1, "INT8": 2, "INT32": 3, "BOOL": 4, "UINT8": 5, "INT64": 8},
    "LayerType": {"CONVOLUTION": 0, "ELEMENTWISE": 6, "QUANTIZE": 40, "DEQUANTIZE": 41},
}
# Numbers of onnx.TensorProto.DataType.
ONNX_TYPES = {1: "FLOAT", 2: "UINT8", 3: "INT8", 6: "INT32", 7: "INT64", 9: "BOOL", 10: "HALF"}
NUMPY_TYPES = {"FLOAT": numpy.float32, "HALF": numpy.float16}
LAYERS = {"Conv": "CONVOLUTION", "QuantizeLinear": "QUANTIZE", "DequantizeLinear": "DEQUANTIZE"}
MAGIC = b"fake engine\n"
trt = {}


def become(module: dict, generation: str) -> None:
    """Fill the namespace of a module named tensorrt."""
    lacks = LACKS[generation]
    for name, members in ENUMS.items():
        kept = {member: value for member, value in members.items() if member not in lacks.get(name, ())}
        module[name] = enum.IntEnum(name, kept)
    for each in CLASSES:
        for name in lacks.get(each.__name__, ()):
            delattr(each, name)
        module[each.__name__] = each
    for name in lacks.get("", ()):
        del module[name]
    module["__version__"] = VERSIONS[generation]
    module["init_libnvinfer_plugins"] = lambda logger, namespace: True
    trt.update(module)


def trouble(place: str) -> None:
    folder = Path(os.environ.get("FAKE_TROUBLE", "/nowhere"))
    for kind in ("hang", "die", "fail", "slow"):
        file = folder / f"{kind}-{place}"
        if file.is_file():
            left = int(file.read_text() or 1) - 1
            file.write_text(str(left)) if left else file.unlink()
            if kind == "hang":
                time.sleep(600)
            elif kind == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            elif kind == "slow":
                time.sleep(1.5)
                return
            raise RuntimeError("CUDA error 700: an illegal memory access was encountered")


class Native:
    """Like classes of C++: no attribute comes into being by being set."""

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        object.__setattr__(self, name, value)


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def __init__(self) -> None:
        self._made = True

    def log(self, severity: int, msg: str) -> None:
        raise NotImplementedError


class Logger(ILogger):
    def log(self, severity: int, msg: str) -> None:
        print(msg)


def complain(logger: ILogger, text: str) -> None:
    assert logger._made, "ILogger.__init__ was not called"
    logger.log(ILogger.ERROR, text)


class ITensor(Native):
    name = shape = dtype = None

    def __init__(self, info: object) -> None:
        kind = info.type.tensor_type
        self.name, self.dtype = info.name, trt["DataType"][ONNX_TYPES[kind.elem_type]]
        self.shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim)


class ILayer(Native):
    type = num_outputs = None

    def __init__(self, node: object, tensors: dict) -> None:
        self.type = trt["LayerType"][LAYERS.get(node.op_type, "ELEMENTWISE")]
        self.num_outputs, self._outputs = len(node.output), [tensors.get(name) for name in node.output]

    def get_output(self, index: int) -> ITensor:
        return self._outputs[index]


class INetworkDefinition(Native):
    def __init__(self, flags: int) -> None:
        self._flags, self._model, self._inputs, self._outputs, self._layers = flags, None, [], [], []

    num_inputs = property(lambda self: len(self._inputs))
    num_outputs = property(lambda self: len(self._outputs))
    num_layers = property(lambda self: len(self._layers))

    def get_input(self, index: int) -> ITensor:
        return self._inputs[index]

    def get_output(self, index: int) -> ITensor:
        return self._outputs[index]

    def get_layer(self, index: int) -> ILayer:
        return self._layers[index]


class ParserError(Native):
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text


class OnnxParser(Native):
    num_errors = property(lambda self: len(self._errors))

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._logger, self._errors = network, logger, []

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse(self, model: bytes) -> bool:
        explicit = getattr(trt["NetworkDefinitionCreationFlag"], "EXPLICIT_BATCH", None)
        if trt["__version__"].startswith("8") and not self._network._flags & 1 << int(explicit):
            self._errors.append(ParserError("This version of the ONNX parser only supports networks with an explicit batch"))
            return False
        try:
            proto = shape_inference.infer_shapes(onnx.load_from_string(bytes(model)))
            onnx.checker.check_model(proto)
        except Exception as error:  # noqa: BLE001  protobuf and the checker have exceptions of their own
            self._errors.append(ParserError(f"Failed to parse the ONNX model: {error}"))
            return False
        graph, weights = proto.graph, {each.name for each in proto.graph.initializer}
        tensors = {each.name: ITensor(each) for each in list(graph.value_info) + list(graph.output)}
        self._network._model = bytes(model)
        self._network._inputs = [ITensor(each) for each in graph.input if each.name not in weights]
        self._network._outputs = [tensors[each.name] for each in graph.output]
        self._network._layers = [ILayer(node, tensors) for node in graph.node]
        return True


class IHostMemory(bytes):
    @property
    def nbytes(self) -> int:
        return len(self)


class ITimingCache(Native):
    def __init__(self, blob: bytes) -> None:
        known = json.loads(blob.decode()) if blob else {"version": trt["__version__"], "layers": 0}
        self._known = known

    def serialize(self) -> IHostMemory:
        return IHostMemory(json.dumps(self._known).encode())


class IBuilderConfig(Native):
    int8_calibrator = None
    max_workspace_size = 0

    def __init__(self) -> None:
        self._flags, self._cache, self._pools = set(), None, {}

    def set_flag(self, flag: int) -> None:
        self._flags.add(flag.name)

    def set_memory_pool_limit(self, pool: int, size: int) -> None:
        self._pools[pool.name] = size

    def create_timing_cache(self, blob: bytes) -> ITimingCache:
        try:
            return ITimingCache(blob)
        except ValueError:
            return None

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        fits = ignore_mismatch or cache._known["version"] == trt["__version__"]
        self._cache = cache if fits else None
        return fits

    def get_timing_cache(self) -> ITimingCache:
        return self._cache


class IInt8EntropyCalibrator2:
    def __init__(self) -> None:
        self._made = True


class Builder(Native):
    platform_has_fast_fp16 = property(lambda self: fake_pycuda.GPU["fast_fp16"])
    platform_has_fast_int8 = property(lambda self: fake_pycuda.GPU["fast_int8"])

    def __init__(self, logger: ILogger) -> None:
        fake_pycuda.need_context()
        self._logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory:
        trouble("build")
        kinds = {output.dtype.name for layer in network._layers for output in layer._outputs if output is not None}
        quantized = any(layer.type.name == "QUANTIZE" for layer in network._layers)
        calibrator = getattr(config, "int8_calibrator", None)
        if hasattr(trt["BuilderFlag"], "FP16"):
            wrong = "FP16 tensors need the FP16 flag" if "HALF" in kinds and "FP16" not in config._flags else ""
            wrong = wrong or ("Q/DQ layers need the INT8 flag" if quantized and "INT8" not in config._flags else "")
            if "INT8" in config._flags and not quantized:
                wrong = wrong or ("" if calibrator is not None and calibrate(calibrator, network) else "Calibration failure")
            if wrong:
                complain(self._logger, wrong)
                return None
        if not (config._pools.get("WORKSPACE") or getattr(config, "max_workspace_size", 0)):
            complain(self._logger, "no workspace")
            return None
        if config._cache is not None:
            config._cache._known["layers"] = len(network._layers)
        rounded = "INT8" if "INT8" in config._flags and not quantized else "FP16" if "FP16" in config._flags else ""
        head = {"version": trt["__version__"], "gpu": fake_pycuda.GPU["compute_capability"], "round": rounded}
        body = json.dumps(head).encode() + b"\n" + network._model
        return IHostMemory(MAGIC + hashlib.sha256(body).digest() + body)


def calibrate(calibrator: IInt8EntropyCalibrator2, network: INetworkDefinition) -> bool:
    assert calibrator._made, "IInt8EntropyCalibrator2.__init__ was not called"
    if calibrator.read_calibration_cache():
        return True
    lows, size = [], int(numpy.prod(network._inputs[0].shape)) * 4
    while True:
        batch = calibrator.get_batch([network._inputs[0].name])
        if batch is None:
            break
        picture = numpy.frombuffer(ctypes.string_at(batch[0], size), numpy.float32)
        lows.append((float(picture.min()), float(picture.max())))
    assert calibrator.get_batch_size() == 1
    if lows:
        calibrator.write_calibration_cache(memoryview(json.dumps({"batches": len(lows), "ranges": lows}).encode()))
    return bool(lows)


def rounded(model: bytes, how: str) -> bytes:
    """The same network with weights that have lost what FP16, or INT8 per output channel, loses."""
    proto = onnx.load_from_string(model)
    for each in proto.graph.initializer:
        values = numpy_helper.to_array(each)
        if values.dtype == numpy.float32 and how == "FP16":
            values = values.astype(numpy.float16).astype(numpy.float32)
        elif values.dtype == numpy.float32 and how == "INT8" and values.ndim > 1:
            step = numpy.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True) / 127 + 1e-12
            values = (numpy.rint(values / step) * step).astype(numpy.float32)
        each.CopyFrom(numpy_helper.from_array(values, each.name))
    return proto.SerializeToString()


class Runtime(Native):
    def __init__(self, logger: ILogger) -> None:
        fake_pycuda.need_context()
        self._logger = logger

    def deserialize_cuda_engine(self, content: bytes) -> object:
        trouble("load")
        # Its libraries print where they like.
        os.write(1, b"[TRT] some words on standard output\n")
        head, digest, body = content[: len(MAGIC)], content[len(MAGIC) : len(MAGIC) + 32], content[len(MAGIC) + 32 :]
        if head != MAGIC or hashlib.sha256(body).digest() != digest:
            complain(self._logger, "Serialization assertion magicTagRead == kMAGIC_TAG failed")
            return None
        facts, _, model = body.partition(b"\n")
        facts = json.loads(facts.decode())
        if facts["version"] != trt["__version__"] or facts["gpu"] != fake_pycuda.GPU["compute_capability"]:
            complain(self._logger, "Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed")
            return None
        return ICudaEngine(rounded(model, facts["round"]))


class ICudaEngine(Native):
    def __init__(self, model: bytes) -> None:
        graph = onnx.load_from_string(model).graph
        weights = {each.name for each in graph.initializer}
        inputs = [ITensor(each) for each in graph.input if each.name not in weights]
        # An engine's outputs need not come in the model's order, and here they do not.
        outputs = [ITensor(each) for each in reversed(graph.output)]
        self._model, self._inputs, self._tensors = model, {each.name for each in inputs}, inputs + outputs

    num_io_tensors = num_bindings = property(lambda self: len(self._tensors))

    def _named(self, name: str) -> ITensor:
        return next(each for each in self._tensors if each.name == name)

    def get_tensor_name(self, index: int) -> str:
        return self._tensors[index].name

    def get_tensor_mode(self, name: str) -> int:
        return trt["TensorIOMode"].INPUT if name in self._inputs else trt["TensorIOMode"].OUTPUT

    def get_tensor_shape(self, name: str) -> tuple:
        return self._named(name).shape

    def get_tensor_dtype(self, name: str) -> int:
        return self._named(name).dtype

    def get_binding_name(self, index: int) -> str:
        return self._tensors[index].name

    def get_binding_shape(self, index: int) -> tuple:
        return self._tensors[index].shape

    def get_binding_dtype(self, index: int) -> int:
        return self._tensors[index].dtype

    def binding_is_input(self, index: int) -> bool:
        return self._tensors[index].name in self._inputs

    def create_execution_context(self) -> object:
        return IExecutionContext(self)


class IExecutionContext(Native):
    def __init__(self, engine: ICudaEngine) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        session = onnxruntime.InferenceSession(engine._model, options, providers=["CPUExecutionProvider"])
        self._engine, self._session, self._addresses = engine, session, {}

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        if set(self._addresses) != {each.name for each in self._engine._tensors}:
            return False
        addresses = dict(self._addresses)
        fake_pycuda.STREAMS[stream_handle].work.append(lambda: self._compute(addresses))
        return True

    def execute_async_v2(self, bindings: list, stream_handle: int) -> bool:
        names = [each.name for each in self._engine._tensors]
        addresses = dict(zip(names, bindings))  # noqa: B905  not in 3.6
        fake_pycuda.STREAMS[stream_handle].work.append(lambda: self._compute(addresses))
        return True

    def _compute(self, addresses: dict) -> None:
        trouble("run")
        feeds = {}
        for each in self._engine._tensors:
            if each.name in self._engine._inputs:
                kind = NUMPY_TYPES[each.dtype.name]
                raw = ctypes.string_at(addresses[each.name], int(numpy.prod(each.shape)) * numpy.dtype(kind).itemsize)
                feeds[each.name] = numpy.frombuffer(raw, kind).reshape(each.shape)
        names = [each.name for each in self._engine._tensors if each.name not in self._engine._inputs]
        for name, values in zip(names, self._session.run(names, feeds)):  # noqa: B905
            content = numpy.ascontiguousarray(values[..., ::-1] if fake_pycuda.GPU["wrong"] else values).tobytes()
            ctypes.memmove(addresses[name], content, len(content))


CLASSES = (
    ILogger, Logger, ITensor, ILayer, INetworkDefinition, ParserError, OnnxParser, IHostMemory, ITimingCache, IBuilderConfig,
    IInt8EntropyCalibrator2, Builder, Runtime, ICudaEngine, IExecutionContext,
)  # fmt: skip
