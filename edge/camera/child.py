"""A camera that another program reads: raw pictures through a pipe, from a process that can be killed when it hangs.

The vendors' camera libraries hang inside whoever calls them, so they are called by a process of their own.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import CameraError
from edge.types import Frame

# In a command: the number of the descriptor that takes the pictures. Without it they come on standard output.
PICTURES = "{pictures}"
# The first picture has to be there by then, seconds; a Jetson's Argus takes 2 to 3.
FIRST_PICTURE = 5.0
# How long a program has to give the camera back before it is killed, and to vanish then, seconds. Argus, killed without being
# asked, may not give the camera out again until the board restarts.
POLITE, VANISH = 0.5, 0.5
TURN_MS = 200
# The most that an unprivileged process may ask for its pipes (pipe(7)): fewer wake-ups, two pictures of 640x480.
PIPE_BYTES = 1 << 20
WORDS = 4096

# Runs before the program, in its process: the kernel kills it when the thread that started it is gone, whatever ended that one
# (PR_SET_PDEATHSIG, prctl(2)). Without it a program that hangs would keep the camera for ever. Python ignores SIGPIPE and would
# bequeath that; a memory policy may forbid ctypes, then SIGPIPE at the next picture has to do.
GUARD = """
import os, signal, sys
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
except Exception:
    pass
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class Raw:
    """What one picture is in the pipe.

    Attributes:
        width: pixels.
        height: pixels.
        layout: `bgrx` has four bytes a pixel; `i420` is planar YUV 4:2:0 without padding, BT.601, full range (JPEG's).
    """

    width: int
    height: int
    layout: Literal["bgrx", "i420"]

    @property
    def bytes(self) -> int:
        """Of one picture."""
        return self.width * self.height * 4 if self.layout == "bgrx" else self.width * self.height * 3 // 2

    def decode(self, raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """`bytes` bytes -> a new picture, uint8 (height, width, 3), BGR."""
        width, height = self.width, self.height
        if self.layout == "bgrx":
            return np.asarray(cv2.cvtColor(raw.reshape(height, width, 4), cv2.COLOR_BGRA2BGR), np.uint8)
        luma, quarter = width * height, width * height // 4
        planes = (raw[luma : luma + quarter], raw[luma + quarter :])
        blue, red = (cv2.resize(plane.reshape(height // 2, width // 2), (width, height)) for plane in planes)
        # OpenCV's own I420 conversions take the range to be 16..235 and would add a sixth of contrast.
        merged = cv2.merge((raw[:luma].reshape(height, width), red, blue))
        return np.asarray(cv2.cvtColor(merged, cv2.COLOR_YCrCb2BGR), np.uint8)


class ChildVideo:
    """A program that writes pictures; started here, gone after `close`.

    The thread that opens it must live as long as it is open: the kernel ends the program with that thread.
    """

    live = True

    def __init__(
        self, command: Sequence[str], raw: Raw, name: str, rate: float, fits: Callable[[str], str | None] = lambda _words: None
    ) -> None:
        """Start the program and wait for its first picture.

        Args:
            command: its whole path, then its arguments, with PICTURES where it takes a descriptor.
            raw: the pictures that were asked of it.
            name: what messages call the camera.
            rate: frames per second that were asked of it.
            fits: looks at what it has said by its first picture; returns what is wrong, or None.

        Raises:
            CameraError: it cannot be started, ends, or gives no picture in time.
        """
        self._raw, self._name, self._number = raw, name, 0
        self._buffer = np.empty(raw.bytes, np.uint8)
        self._killed, self._said = threading.Event(), b""
        self._poll = select.poll()
        self._program = Path(command[0]).name
        self._process, self._descriptors = self._start(command)
        self._description = f"{name}, {raw.width}x{raw.height} by {self._program} ({rate:g} frames/s were asked for)"
        try:
            self._fill(time.monotonic() + FIRST_PICTURE)
            wrong = fits(self._words())
            if wrong is not None:
                raise CameraError(wrong)
        except BaseException:
            self.close()
            raise

    def read(self) -> Frame:
        self._fill(None)
        frame = Frame(self._raw.decode(self._buffer), self._number, time.monotonic(), time.time())
        self._number += 1
        return frame

    def kill(self) -> None:
        """A read returns within a turn, even when the kernel holds the program; `close` then asks it to end, and kills it."""
        self._killed.set()

    def describe(self) -> str:
        return self._description

    def close(self) -> None:
        # Both programs give the camera back on SIGINT; rpicam-vid has no other signal for it.
        for number, seconds in ((signal.SIGINT, POLITE), (signal.SIGKILL, VANISH)):
            self._signal(number)
            try:
                self._process.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                continue
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = ()

    def _start(self, command: Sequence[str]) -> tuple[subprocess.Popen[bytes], tuple[int, ...]]:
        pictures, pictures_end = os.pipe()
        words, words_end = os.pipe()
        told_where = any(PICTURES in part for part in command)
        guarded = [sys.executable, "-I", "-S", "-c", GUARD, str(os.getpid())] if sys.executable else []
        try:
            with contextlib.suppress(OSError):
                _enlarge(pictures)
            # A session of its own: Ctrl-C is for us, and a kill reaches what it started itself.
            process = subprocess.Popen(  # noqa: S603  the programs are named in `csi` and `pi`
                [*guarded, *(part.replace(PICTURES, str(pictures_end)) for part in command)],
                stdin=subprocess.DEVNULL,
                # A program that is told where the pictures go may say something on standard output; NVIDIA's does.
                stdout=words_end if told_where else pictures_end,
                stderr=words_end,
                pass_fds=(pictures_end,),
                start_new_session=True,
            )
        except OSError as error:
            os.close(pictures)
            os.close(words)
            raise CameraError(f"{self._name}: {self._program} cannot be started ({error.strerror})") from None
        finally:
            os.close(pictures_end)
            os.close(words_end)
        os.set_blocking(words, False)
        for descriptor in (pictures, words):
            self._poll.register(descriptor, select.POLLIN)
        return process, (pictures, words)

    def _fill(self, deadline: float | None) -> None:
        """Read one whole picture into the buffer."""
        left, pictures = self._buffer.data, self._descriptors[0]
        while left:
            ready = [descriptor for descriptor, _event in self._poll.poll(TURN_MS)]
            if self._killed.is_set():
                raise CameraError(f"{self._name} was given up: {self._program} gave no pictures any more")
            if pictures in ready:
                count = os.readv(pictures, [left])
                if not count:
                    raise CameraError(self._end())
                left = left[count:]
            elif ready:
                self._listen()
            if left and deadline is not None and time.monotonic() > deadline:
                said = self._last_words()
                raise CameraError(
                    f"{self._name}: no picture within {FIRST_PICTURE:g} s of the start of {self._program}"
                    f"{f' ({said})' if said else ''}; check the ribbon cable and that no other program uses the camera"
                )

    def _listen(self) -> None:
        """Keep the end of what the program says; a full pipe would stop it."""
        words = self._descriptors[1]
        # KeyError: its end was seen before.
        with contextlib.suppress(BlockingIOError, KeyError):
            part = os.read(words, 1 << 16)
            self._said = (self._said + part)[-WORDS:]
            if not part:
                self._poll.unregister(words)

    def _words(self) -> str:
        self._listen()
        return self._said.decode(errors="replace")

    def _last_words(self) -> str:
        lines = ["".join(c for c in line if c.isprintable()).strip() for line in self._words().splitlines()]
        telling = [line for line in lines if "error" in line.lower()] or [line for line in lines if line]
        return telling[-1][:200] if telling else ""

    def _end(self) -> str:
        """One sentence on a program that has ended by itself."""
        try:
            status = self._process.wait(POLITE)
            how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        except subprocess.TimeoutExpired:
            how = "has closed its output"
        said = self._last_words()
        advice = "check the ribbon cable and that no other program uses the camera"
        return f"{self._name}: {self._program} {how}{f' ({said})' if said else ''}; {advice}"

    def _signal(self, number: int) -> None:
        # Not after it was waited for: its number may be another's by then.
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)


def _enlarge(descriptor: int) -> None:
    import fcntl

    # F_SETPIPE_SZ has its name in Python from 3.10 on, and on Linux alone.
    fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
