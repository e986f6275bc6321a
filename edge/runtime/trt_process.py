"""The worker process that has TensorRT, seen from here: requests with a deadline, tensors in memory that both share."""

from __future__ import annotations

import contextlib
import importlib.util
import mmap
import os
import select
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edge.errors import EngineError

WORKER = Path(__file__).resolve().parent / "trt_worker.py"
# Where JetPack's own Python is, for which its TensorRT is made.
SYSTEM_PYTHON = "/usr/bin/python3"
SHARED_MEMORY = "/dev/shm"  # noqa: S108  a memory file without a name is no temporary file that another can guess
# A process that was killed is gone at once, unless a driver holds it; nobody waits for that, seconds.
GRACE = 2.0
FIND = "import importlib.util as u, sys; sys.exit(not (u.find_spec('tensorrt') and u.find_spec('pycuda')))"

Waiting = Callable[[float], None]


class WorkerLostError(EngineError):
    """The process died, hung, or broke; it is gone, and the next request starts another."""


def find_python(named: str | None) -> str | None:
    """The interpreter for the worker: the one that is named, else the first that has tensorrt and pycuda, else None."""
    if named:
        return named
    if importlib.util.find_spec("tensorrt") and importlib.util.find_spec("pycuda"):
        return sys.executable
    try:
        found = subprocess.run([SYSTEM_PYTHON, "-c", FIND], capture_output=True, timeout=30, check=False)  # noqa: S603  a constant
    except (OSError, subprocess.TimeoutExpired):
        return None
    return SYSTEM_PYTHON if found.returncode == 0 else None


class Worker:
    """One worker process, started by the first request and by the first one after it was lost. For one thread."""

    def __init__(self, python: str, memory: str = SHARED_MEMORY) -> None:
        """Args: python: the interpreter. memory: folder for the memory file; where it takes none, tensors go by pipe."""
        self._python = python
        self._tensors = _memory_file(memory)
        self._area: mmap.mmap | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[..., Any] | None = None
        self._release = weakref.finalize(self, _close, self._tensors)

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return self._process.pid if self._process else None

    def ask(
        self, request: dict[str, Any], limit: float, payload: bytes = b"", waiting: Waiting | None = None
    ) -> tuple[dict[str, Any], bytes]:
        """Send a request and wait for its answer.

        Args:
            request: see `trt_worker`.
            limit: for the whole of it, seconds.
            payload: goes with it.
            waiting: called about once a second with the seconds so far.

        Returns:
            The answer and what came with it.

        Raises:
            WorkerLostError: no answer in time, or no process any more; it was killed.
            EngineError: the worker refuses, and goes on.
        """
        if self._process is None:
            self._start()
        try:
            answer, content = self._exchange(request, payload, limit, waiting)
        except BaseException:
            # An answer that nobody waited for would be taken for the next one's.
            self.kill()
            raise
        if "error" in answer:
            if answer.get("broken"):
                self.kill()
                raise WorkerLostError(str(answer["error"]))
            raise EngineError(str(answer["error"]))
        return answer, content

    def area(self, size: int) -> mmap.mmap | None:
        """Memory of so many bytes that the worker sees too; None where there is none and tensors go with the request."""
        if self._tensors is None:
            return None
        if self._area is None or len(self._area) < size:
            os.truncate(self._tensors, size)
            self._area = mmap.mmap(self._tensors, size)
        return self._area

    def close(self) -> None:
        """End the process."""
        if self._process is not None and self._end is not None:
            self._end()
            self._process = self._end = None

    def kill(self) -> None:
        """End the process without asking."""
        if self._process is not None:
            self._process.kill()
            self.close()

    def _start(self) -> None:
        shared = () if self._tensors is None else (self._tensors,)
        command = [self._python, str(WORKER), *map(str, shared or ("-",))]
        # A home that this Python was given is not that of another.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}
        try:
            # A session of its own: Ctrl-C is for us, and the worker ends when we do.
            self._process = subprocess.Popen(  # noqa: S603  the interpreter is the owner's own setting
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                pass_fds=shared,
                start_new_session=True,
                env=environment,
            )
        except OSError as error:
            raise EngineError(f"{self._python} cannot be started for TensorRT ({error.strerror})") from None
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._end = weakref.finalize(self, _finish, self._process)

    def _exchange(
        self, request: dict[str, Any], payload: bytes, limit: float, waiting: Waiting | None
    ) -> tuple[dict[str, Any], bytes]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        turns = _Turns(request["do"], limit, waiting)
        body = msgspec.json.encode({**request, "payload": len(payload)})
        try:
            self._write(self._process.stdin.fileno(), struct.pack(">I", len(body)) + body + payload, turns)
            source = self._process.stdout.fileno()
            (length,) = struct.unpack(">I", self._read(source, 4, turns))
            answer = msgspec.json.decode(self._read(source, length, turns))
            return answer, self._read(source, answer["payload"], turns)
        except (BrokenPipeError, EOFError):
            raise WorkerLostError(f"its process ended ({self._status()}) during {request['do']}") from None

    def _write(self, target: int, data: bytes, turns: _Turns) -> None:
        left = memoryview(data)
        while left:
            if turns.wait(target, select.POLLOUT):
                left = left[os.write(target, left) :]

    def _read(self, source: int, count: int, turns: _Turns) -> bytes:
        parts: list[bytes] = []
        while count:
            if turns.wait(source, select.POLLIN):
                part = os.read(source, min(count, 1 << 20))
                if not part:
                    raise EOFError
                parts.append(part)
                count -= len(part)
        return b"".join(parts)

    def _status(self) -> str:
        assert self._process is not None
        try:
            status = self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            return "no status yet"
        return f"signal {-status}" if status < 0 else f"status {status}"


class _Turns:
    """Waiting in short turns until a deadline."""

    def __init__(self, what: str, limit: float, waiting: Waiting | None) -> None:
        self._what, self._limit, self._waiting, self._began = what, limit, waiting, time.monotonic()

    def wait(self, descriptor: int, event: int) -> bool:
        """Wait at most a second.

        Raises:
            WorkerLostError: the deadline has passed.
        """
        past = time.monotonic() - self._began
        if past >= self._limit:
            raise WorkerLostError(f"its process did not answer within {self._limit:g} s of {self._what}, and was killed")
        poll = select.poll()
        poll.register(descriptor, event)
        ready = bool(poll.poll(min(1.0, self._limit - past) * 1000))
        if not ready and self._waiting is not None:
            self._waiting(time.monotonic() - self._began)
        return ready


def _memory_file(folder: str) -> int | None:
    try:
        # It never has a name, so nothing is left of it, however anybody ends (open(2), O_TMPFILE).
        return os.open(folder, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    except OSError:
        return None


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _finish(process: subprocess.Popen[bytes]) -> None:
    """The end of its input ends a worker; one that does not hear is killed. No zombie stays."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        # A driver may hold it; it dies when the driver lets go, and the next process that we start collects it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    process.stdout.close()
