"""The part of pycuda.driver that the TensorRT worker uses, over the host's own memory; in the syntax of Python 3.6.

A stream is one: what is put on it happens when it is synchronized, not before. FAKE_GPU describes the device, as JSON.
"""

import ctypes
import json
import os

import numpy

GPU = dict(
    {"name": "Fake Orin", "compute_capability": [8, 7], "fast_fp16": True, "fast_int8": True, "wrong": False},
    **json.loads(os.environ.get("FAKE_GPU", "{}")),
)

STREAMS = {}
CONTEXTS = []


class LogicError(RuntimeError):
    """What pycuda raises where CUDA says no."""


def init() -> None:
    if GPU["name"] is None:
        raise LogicError("cuInit failed: no CUDA-capable device is detected")


class Context:
    def pop(self) -> None:
        CONTEXTS.remove(self)

    def detach(self) -> None:
        pass


class Device:
    def __init__(self, number: int) -> None:
        assert number == 0

    def name(self) -> str:
        return GPU["name"]

    def compute_capability(self) -> tuple:
        return tuple(GPU["compute_capability"])

    def make_context(self) -> Context:
        CONTEXTS.append(Context())
        return CONTEXTS[-1]


def need_context() -> None:
    if not CONTEXTS:
        raise LogicError("invalid device context")


class DeviceAllocation:
    def __init__(self, size: int) -> None:
        need_context()
        self._memory = ctypes.create_string_buffer(size)

    def __int__(self) -> int:
        return ctypes.addressof(self._memory)


def mem_alloc(size: int) -> DeviceAllocation:
    return DeviceAllocation(size)


def pagelocked_empty(shape: int, dtype: type) -> numpy.ndarray:
    need_context()
    # Whatever lay there before.
    return numpy.full(shape, 0xAA, dtype)


class Stream:
    def __init__(self) -> None:
        need_context()
        self.handle = 1000 + len(STREAMS)
        self.work = []
        STREAMS[self.handle] = self

    def synchronize(self) -> None:
        while self.work:
            self.work.pop(0)()


def memcpy_htod(dest: DeviceAllocation, src: bytes) -> None:
    content = bytes(src)
    ctypes.memmove(int(dest), content, len(content))


def memcpy_htod_async(dest: DeviceAllocation, src: numpy.ndarray, stream: Stream) -> None:
    stream.work.append(lambda: ctypes.memmove(int(dest), src.ctypes.data, src.nbytes))


def memcpy_dtoh_async(dest: numpy.ndarray, src: DeviceAllocation, stream: Stream) -> None:
    stream.work.append(lambda: ctypes.memmove(dest.ctypes.data, int(src), dest.nbytes))
