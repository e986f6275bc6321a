"""A camera that freezes is noticed within 3 s, gives frames again within 8 s of its return, and leaks nothing, however often.

And a clock that is set by an hour is neither a freeze nor a disorder. Cameras freeze here as they do on a board: a process that
is stopped, a server that goes silent, a read that never returns.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from boards import Board
from fakes import ManualClock, ScriptedCamera
from networks import NetworkCamera

from edge.camera import Camera, Frame, open_camera
from edge.camera.capture import Capture
from edge.clock import SYSTEM, Clock
from edge.config import CameraSettings

NOTICED, AGAIN = 3.0, 8.0
# What a machine that does much else may add to times that are measured by its own clock, seconds.
BUSY = 4.0
FOREVER = 1_000_000


class Frozen:
    """A camera that can be frozen for real, seen through a Capture.

    Args:
        kind: `child` is a process under SIGSTOP, `network` a server that goes silent, `blocked` a read that does not return.
        board: for the child.
        network: for the network.
        clock: by which the capture judges.
        stall: as `camera.stall`.
    """

    def __init__(self, kind: str, board: Board, network: NetworkCamera, clock: Clock, stall: float = 2.5) -> None:
        self._kind, self._board, self._network = kind, board, network
        self._ice = threading.Event()
        source = {"child": "pi", "network": f"http://127.0.0.1:{network.port}/", "blocked": "0"}[kind]
        settings = CameraSettings(source=source, width=128, height=96, fps=50, stall=stall)
        opener = self._open_blocked if kind == "blocked" else open_camera
        self.capture = Capture(settings, service=True, opener=opener, clock=clock)
        self.capture.start()

    def freeze(self) -> None:
        """It gives nothing more, and when it is opened again, nothing either."""
        self._ice.set()
        self._board.is_wrong("frozen")
        self._network.silent.set()
        if self._kind == "child":
            self._board.stop()

    def thaw(self) -> None:
        """It is back; what was stopped in the meantime stays stopped."""
        self._ice.clear()
        self._board.is_wrong("frozen", False)
        self._network.silent.clear()

    def sees(self) -> bool:
        """Whether a frame comes now."""
        return self.capture.get(0) is not None and self.capture.degraded is None

    def _open_blocked(self, _settings: CameraSettings) -> Camera:
        ice = self._ice

        class Icy(ScriptedCamera):
            def read(self) -> Frame | None:
                while ice.is_set() and not self.release.is_set():
                    time.sleep(0.01)
                return super().read()

        return Icy([FOREVER], live=True, pause=0.01)


def wait_for(what: Callable[[], bool], seconds: float, meanwhile: Callable[[], None] = lambda: None) -> float | None:
    """Seconds until something was so; None when it was not."""
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        if what():
            return time.monotonic() - begun
        meanwhile()
        time.sleep(0.01)
    return None


def drain(capture: Capture) -> None:
    while capture.get(0) is not None:
        pass


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    return Board(tmp_path, monkeypatch)


@pytest.fixture
def network() -> Iterator[NetworkCamera]:
    with NetworkCamera() as server:
        server.size = 128, 96
        yield server


def test_frozen_cameras_are_noticed_and_back_in_time(board: Board, network: NetworkCamera) -> None:
    """In real time, all three at once; away for long enough that the pauses between two tries are the longest."""
    kinds = ("child", "network", "blocked")
    with ExitStack() as stack:
        cameras = {kind: Frozen(kind, board, network, SYSTEM) for kind in kinds}
        for camera in cameras.values():
            stack.callback(camera.capture.stop)
        assert wait_for(lambda: all(camera.sees() for camera in cameras.values()), 20) is not None
        noticed, back = dict.fromkeys(kinds, 99.0), dict.fromkeys(kinds, 99.0)
        for camera in cameras.values():
            camera.freeze()
        begun = time.monotonic()
        while time.monotonic() - begun < 8:
            for kind, camera in cameras.items():
                if camera.capture.degraded is not None:
                    noticed[kind] = min(noticed[kind], time.monotonic() - begun)
            time.sleep(0.01)
        for camera in cameras.values():
            camera.thaw()
            drain(camera.capture)
        begun = time.monotonic()
        while max(back.values()) == 99 and time.monotonic() - begun < AGAIN + BUSY:
            for kind, camera in cameras.items():
                if camera.sees():
                    back[kind] = min(back[kind], time.monotonic() - begun)
            time.sleep(0.01)
        assert max(noticed.values()) < NOTICED + BUSY, noticed
        assert max(back.values()) < AGAIN + BUSY, back
        assert all(camera.capture.reopened >= 1 for camera in cameras.values())


@pytest.mark.parametrize("kind", ["child", "blocked"])
@pytest.mark.parametrize("watched", [True, False])
def test_a_freeze_is_noticed_within_three_seconds_of_the_clock(
    board: Board, network: NetworkCamera, kind: str, watched: bool
) -> None:
    clock = ManualClock()
    # The negative control: without a watchdog the camera stays frozen, and nobody is told.
    camera = Frozen(kind, board, network, clock, stall=2.5 if watched else 3600)
    assert wait_for(camera.sees, 20) is not None
    camera.freeze()
    # What was on its way has come.
    assert wait_for(lambda: camera.capture.get(0.2) is None, 10) is not None
    clock.pass_by(2.4)
    assert wait_for(lambda: camera.capture.degraded is not None, 0.5) is None
    clock.pass_by(NOTICED - 2.4)
    assert (wait_for(lambda: camera.capture.degraded is not None, 10 if watched else 1) is not None) == watched
    camera.thaw()
    if watched:
        assert wait_for(camera.sees, 20, lambda: clock.pass_by(0.02)) is not None
    elif kind == "child":
        assert wait_for(camera.sees, 1) is None, "the stopped process is still waited for"
    camera.capture.stop()


class Resources:
    """What this process holds at a moment."""

    def __init__(self) -> None:
        self.threads = len(list(Path("/proc/self/task").iterdir()))
        self.descriptors = len(list(Path("/proc/self/fd").iterdir()))
        self.children = sum(_parent(path) == os.getpid() for path in Path("/proc").glob("[0-9]*/stat"))
        self.megabytes = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def more_than(self, before: Resources) -> list[str]:
        """What has grown."""
        named = ("threads", "descriptors", "children")
        grown = [f"{name}: {getattr(before, name)} -> {getattr(self, name)}" for name in named]
        grown = [line for line, name in zip(grown, named, strict=True) if getattr(self, name) > getattr(before, name)]
        # The allocator keeps a little; a picture lost each time would be 37 KB at least, a thread 100.
        if self.megabytes > before.megabytes + 12:
            grown.append(f"memory: {before.megabytes:.0f} -> {self.megabytes:.0f} MB")
        return grown


def _parent(stat: Path) -> int | None:
    try:
        # The command in brackets may hold anything; the state and the parent's number follow it.
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def cycle(camera: Frozen, clock: ManualClock) -> None:
    camera.freeze()
    assert wait_for(lambda: camera.capture.degraded is not None, 30, lambda: clock.pass_by(0.1)) is not None
    camera.thaw()
    assert wait_for(camera.sees, 30, lambda: clock.pass_by(0.05)) is not None


@pytest.mark.parametrize("kind", ["child", "network", "blocked"])
def test_freezing_again_and_again_leaks_nothing(board: Board, network: NetworkCamera, kind: str, full: bool) -> None:
    clock = ManualClock()
    # A short stall, because FFmpeg's own timeout follows it and is real time.
    camera = Frozen(kind, board, network, clock, stall=0.5)
    assert wait_for(camera.sees, 20, lambda: clock.pass_by(0.02)) is not None
    for _ in range(3):
        cycle(camera, clock)
    before, reopened = Resources(), camera.capture.reopened
    for _ in range(1000 if full else 20):
        cycle(camera, clock)
    assert wait_for(lambda: not Resources().more_than(before), 10) is not None, Resources().more_than(before)
    assert camera.capture.reopened - reopened >= (1000 if full else 20)
    assert camera.capture.fatal is None
    camera.capture.stop()


def test_a_camera_that_leaks_is_seen_to_leak() -> None:
    """The negative control of the test above."""
    leaked: list[int] = []

    class Leaky(ScriptedCamera):
        def __init__(self, *runs: int) -> None:
            super().__init__(list(runs), live=True, pause=0.01)
            leaked.append(os.open(os.devnull, os.O_RDONLY))

    before, clock = Resources(), ManualClock()
    capture = Capture(CameraSettings(), opener=lambda _: Leaky(5), clock=clock)
    capture.start()
    assert wait_for(lambda: capture.reopened >= 3, 20, lambda: clock.pass_by(0.1)) is not None
    capture.stop()
    assert any(line.startswith("descriptors") for line in Resources().more_than(before))
    for descriptor in leaked:
        os.close(descriptor)


class WallClock(ManualClock):
    """A program that mixes its clocks up: what it takes for the monotonic one can be set."""

    def monotonic(self) -> float:
        return self.time()


@pytest.mark.parametrize("mixed_up", [False, True])
def test_a_clock_that_is_set_by_an_hour_is_no_freeze_and_keeps_the_order(mixed_up: bool) -> None:
    clock = WallClock() if mixed_up else ManualClock()
    numbers = itertools.count()

    class Clocked(ScriptedCamera):
        """Stamps as live cameras do."""

        def read(self) -> Frame | None:
            time.sleep(0.01)
            number = next(numbers)
            return Frame(np.full((1, 1, 3), number % 256, np.uint8), number, clock.monotonic(), clock.time())

    capture = Capture(CameraSettings(stall=2.5, frozen=10), opener=lambda _: Clocked([], live=True), clock=clock)
    capture.start()
    seen: list[Frame] = []
    for step in (3600, -3600, -3600, 3600, 3600, -7200):
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            frame = capture.get(0.1)
            if frame is not None:
                seen.append(frame)
            clock.pass_by(0.01)
        clock.step(step)
    capture.stop()
    in_order = all(a.number < b.number and a.time <= b.time for a, b in itertools.pairwise(seen))
    calm = capture.degraded is None and capture.reopened == 0
    assert len(seen) > 20
    # Not each for itself: a step is only mistaken for a stall when the handler looks between it and the next frame, and while the
    # camera is opened again for that, no frame comes that could break the order.
    assert (in_order and calm) != mixed_up
