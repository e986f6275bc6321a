"""One handler owns every retry: what fails, stalls, freezes or hangs is opened again, replays are whole, and stop is prompt."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from fakes import ManualClock, ScriptedCamera
from networks import NetworkCamera

from edge.camera import Frame, open_camera
from edge.camera.capture import FIRST_DELAY, LONGEST_DELAY, OPENING, Capture
from edge.camera.held import HELD_LIMIT, MOST_HELD
from edge.camera.ring import CAPACITY
from edge.config import CameraSettings
from edge.errors import CameraError

LIVE, REPLAY = CameraSettings(source="0"), CameraSettings(source="some.mp4")
FOREVER = 1_000_000


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.005)
    return met


def all_frames(capture: Capture) -> Iterator[Frame]:
    while not capture.ended:
        got = capture.get(0.05)
        if got is not None:
            yield got


def sees(capture: Capture) -> bool:
    return capture.get(0) is not None and capture.degraded is None


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cameras() -> Iterator[list[ScriptedCamera]]:
    """What a test opens; no thread of it is left behind."""
    opened: list[ScriptedCamera] = []
    yield opened
    for camera in opened:
        camera.release.set()


def test_a_replay_waits_for_room_and_loses_nothing() -> None:
    capture = Capture(REPLAY, opener=lambda _: ScriptedCamera([10], live=False))
    capture.start()
    assert wait_for(lambda: capture.captured == CAPACITY)
    before = capture.beat
    assert wait_for(lambda: capture.beat > before), "it beats while it waits"
    assert capture.captured == CAPACITY
    assert [got.number for got in all_frames(capture)] == list(range(10))
    assert (capture.captured, capture.dropped, capture.reopened) == (10, 0, 0)
    assert (capture.description, capture.size) == ("scripted camera", (1, 1))
    capture.stop()


def test_a_camera_that_fails_is_opened_again_and_its_numbers_go_on(caplog: pytest.LogCaptureFixture) -> None:
    opened: list[ScriptedCamera] = []

    def opener(_: CameraSettings) -> ScriptedCamera:
        if len(opened) == 1:
            opened.append(ScriptedCamera([], live=True))
            raise CameraError("unplugged")
        opened.append(ScriptedCamera([CAPACITY if not opened else FOREVER], live=True, pause=0.01))
        return opened[-1]

    capture = Capture(LIVE, opener=opener)
    capture.start()
    assert wait_for(lambda: capture.degraded is not None)
    first = [capture.get(1).number for _ in range(CAPACITY)]
    assert wait_for(lambda: capture.degraded is None)
    assert first == list(range(CAPACITY))
    assert capture.get(1).number >= CAPACITY
    assert capture.reopened == 1
    capture.stop()
    assert opened[0].closed
    assert opened[2].closed
    told = [record.getMessage() for record in caplog.records if "trying again" in record.getMessage()]
    assert told == ["the script is through; trying again in 0.5 s", "unplugged; trying again in 1.0 s"]


def test_nothing_of_a_camera_that_failed_is_kept() -> None:
    """A picture is a megabyte. It has to go with its reader: the collector of circles may come by after hours."""
    opened: list[weakref.ref[ScriptedCamera]] = []

    def opener(_: CameraSettings) -> ScriptedCamera:
        camera = ScriptedCamera([3], live=True, pause=0.005)
        opened.append(weakref.ref(camera))
        return camera

    capture = Capture(LIVE, opener=opener)
    gc.disable()
    try:
        capture.start()
        assert wait_for(lambda: len(opened) == 3)
        assert wait_for(lambda: [camera() for camera in opened[:2]] == [None, None], 1)
    finally:
        gc.enable()
        capture.stop()


def test_an_unplugged_camera_is_tried_more_and_more_rarely_and_the_log_hears_of_it_once(
    caplog: pytest.LogCaptureFixture, clock: ManualClock
) -> None:
    tries: list[float] = []

    def opener(_settings: CameraSettings) -> ScriptedCamera:
        tries.append(clock.monotonic())
        raise RuntimeError("out of something")

    capture = Capture(LIVE, service=True, opener=opener, clock=clock)
    capture.start()
    while len(tries) < 8:
        clock.pass_by(0.1)
        time.sleep(0.01)
    gaps = np.diff(tries)
    assert capture.degraded == "out of something"
    assert not capture.ended
    # Jitter takes a fifth; a turn, and this thread's own pace, come on top.
    assert all(0.8 * FIRST_DELAY * 2**i <= gap for i, gap in enumerate(gaps[:2]))
    assert all(gap >= 0.8 * LONGEST_DELAY for gap in gaps[2:])
    assert len({round(gap, 3) for gap in gaps[2:]}) > 1
    capture.stop()
    assert sum(record.levelname == "WARNING" for record in caplog.records) == 1


def test_a_missing_camera_is_an_error_in_a_terminal_and_waited_for_as_a_service() -> None:
    there = threading.Event()

    def opener(_: CameraSettings) -> ScriptedCamera:
        if not there.is_set():
            raise CameraError("no such camera")
        return ScriptedCamera([FOREVER], live=True, pause=0.01)

    refused = Capture(LIVE, opener=opener)
    with pytest.raises(CameraError, match="no such camera"):
        refused.start()
    assert wait_for(lambda: refused.ended)
    capture = Capture(LIVE, service=True, opener=opener)
    capture.start()
    assert wait_for(lambda: capture.degraded == "no such camera")
    assert not capture.ended
    there.set()
    assert capture.get(5) is not None
    assert capture.degraded is None
    capture.stop()


def test_a_missing_file_is_an_error_even_as_a_service() -> None:
    with pytest.raises(CameraError, match="no such file"):
        Capture(CameraSettings(source="none.mp4"), service=True).start()


@pytest.mark.parametrize(("live", "held"), [(True, False), (True, True), (False, False)])
def test_stop_is_prompt_while_a_read_blocks_or_the_ring_is_full(live: bool, held: bool) -> None:
    camera = ScriptedCamera([1 if live else FOREVER], live=live, then_block=True, held=held)
    capture = Capture(LIVE if live else REPLAY, opener=lambda _: camera)
    capture.start()
    assert capture.get(1) is not None
    start = time.monotonic()
    capture.stop()
    assert time.monotonic() - start < 4
    assert wait_for(lambda: capture.get(0) is None and capture.ended)
    camera.release.set()
    assert wait_for(lambda: camera.closed)


def test_stop_before_start_and_twice_is_nothing() -> None:
    capture = Capture(LIVE, opener=lambda _: ScriptedCamera([FOREVER], live=True, pause=0.01))
    capture.stop()
    capture.stop()
    assert capture.ended


@pytest.mark.parametrize("watched", [True, False])
def test_a_stalled_read_is_killed_and_the_camera_opened_again(
    clock: ManualClock, cameras: list[ScriptedCamera], watched: bool
) -> None:
    def opener(_: CameraSettings) -> ScriptedCamera:
        cameras.append(ScriptedCamera([5 if not cameras else FOREVER], live=True, pause=0.01, then_block=True))
        return cameras[-1]

    # Without the watchdog it hangs for ever: what is shown is the watchdog's work.
    capture = Capture(CameraSettings(stall=2.5 if watched else 3600), opener=opener, clock=clock)
    capture.start()
    assert wait_for(lambda: capture.captured == 5)
    clock.pass_by(2.6)
    assert wait_for(lambda: capture.degraded is not None, 10 if watched else 0.5) == watched
    if watched:
        assert capture.degraded == "scripted camera has given no frame for 2.6 s; check its cable, power and network"
        assert wait_for(lambda: cameras[0].closed)
        assert wait_for(lambda: (capture.captured > 5 + CAPACITY and sees(capture)) or bool(clock.pass_by(0.01)))
        assert capture.reopened == 1
    capture.stop()


def test_a_reader_that_a_driver_holds_is_left_behind_and_not_heard_any_more(
    clock: ManualClock, cameras: list[ScriptedCamera]
) -> None:
    class Late(ScriptedCamera):
        """What the driver gives back in the end is a frame."""

        def read(self) -> Frame | None:
            frame = super().read() if not self.release.is_set() else None
            return frame or Frame(np.full((1, 1, 3), 200, np.uint8), 0, 0.0, 0.0)

    def opener(_: CameraSettings) -> ScriptedCamera:
        cameras.append(
            Late([1], live=False, then_block=True, held=True) if not cameras else ScriptedCamera([FOREVER], live=True, pause=0.01)
        )
        return cameras[-1]

    capture = Capture(LIVE, opener=opener, clock=clock)
    capture.start()
    assert wait_for(lambda: capture.captured == 1)
    clock.pass_by(3)
    assert wait_for(lambda: capture.degraded is not None)
    assert not cameras[0].closed, "nothing is closed under a driver"
    assert wait_for(lambda: (capture.captured > 10 and sees(capture)) or bool(clock.pass_by(0.01)))
    cameras[0].release.set()
    assert wait_for(lambda: cameras[0].closed)
    assert all(capture.get(1).image.max() != 200 for _ in range(10))
    capture.stop()


@pytest.mark.parametrize("frees", [False, True])
def test_a_driver_that_holds_too_many_readers_is_fatal_and_the_handler_still_beats(
    clock: ManualClock, cameras: list[ScriptedCamera], frees: bool
) -> None:
    def opener(_: CameraSettings) -> ScriptedCamera:
        cameras.append(ScriptedCamera([1], live=True, then_block=True, held=True))
        return cameras[-1]

    capture = Capture(LIVE, opener=opener, clock=clock)
    capture.start()
    for number in range(MOST_HELD):
        assert wait_for(lambda n=number: capture.captured == n + 1)
        # One that comes back in time is not counted.
        if frees and number:
            cameras[number - 1].release.set()
            assert wait_for(lambda n=number: cameras[n - 1].closed)
        assert capture.fatal is None
        clock.pass_by(3)
        assert wait_for(lambda: capture.degraded is not None, 5), "told at once, not when the driver lets go"
        if number < MOST_HELD - 1:
            assert wait_for(lambda n=number: len(cameras) == n + 2 or bool(clock.pass_by(0.01)))
    assert wait_for(lambda: capture.fatal is not None, 5) != frees
    if not frees:
        assert "holds 3 of our threads" in str(capture.fatal)
        clock.pass_by(100)
        assert wait_for(lambda: capture.beat == clock.monotonic())
        assert len(cameras) == MOST_HELD, "nothing is opened any more"
    capture.stop()


def test_a_held_reader_that_keeps_the_device_is_fatal_in_the_end(clock: ManualClock, cameras: list[ScriptedCamera]) -> None:
    def opener(_: CameraSettings) -> ScriptedCamera:
        if cameras:
            raise CameraError("another program holds it")
        cameras.append(ScriptedCamera([1], live=True, then_block=True, held=True))
        return cameras[-1]

    capture = Capture(LIVE, opener=opener, clock=clock)
    capture.start()
    assert wait_for(lambda: capture.captured == 1)
    clock.pass_by(3)
    assert wait_for(lambda: capture.degraded == "another program holds it" or bool(clock.pass_by(0.01)))
    assert capture.fatal is None
    clock.pass_by(HELD_LIMIT + LONGEST_DELAY)
    assert wait_for(lambda: capture.fatal is not None)
    capture.stop()


def test_an_opening_that_hangs_is_given_up(clock: ManualClock) -> None:
    release = threading.Event()

    def opener(_: CameraSettings) -> ScriptedCamera:
        release.wait(60)
        return ScriptedCamera([FOREVER], live=True, pause=0.01)

    capture = Capture(LIVE, service=True, opener=opener, clock=clock)
    capture.start()
    time.sleep(0.05)
    clock.pass_by(OPENING + 1)
    assert wait_for(lambda: capture.degraded is not None)
    assert "not open after 11 s" in capture.degraded
    release.set()
    assert wait_for(lambda: sees(capture) or bool(clock.pass_by(0.1)))
    capture.stop()


def test_a_frozen_picture_is_not_handed_on_and_the_camera_is_opened_again(clock: ManualClock) -> None:
    opened: list[ScriptedCamera] = []

    def opener(_: CameraSettings) -> ScriptedCamera:
        # The first opening does not help, the second one does.
        opened.append(ScriptedCamera([FOREVER], live=True, pause=0.005, still=len(opened) < 2))
        return opened[-1]

    capture = Capture(CameraSettings(frozen=10.0), opener=opener, clock=clock)
    capture.start()
    assert wait_for(lambda: sees(capture)), "a picture that stands still is one for a while"
    assert wait_for(lambda: capture.degraded is not None or bool(clock.pass_by(0.1)))
    assert "same picture for more than 10 s" in str(capture.degraded)
    assert wait_for(lambda: capture.reopened == 1 or bool(clock.pass_by(0.1)))
    while capture.get(0) is not None:
        pass
    before = capture.captured
    assert wait_for(lambda: capture.captured > before + 20)
    assert capture.get(0) is None, "the same picture is not handed on"
    assert capture.degraded is not None
    assert len(opened) == 2, "nor is the camera opened again and again"
    assert wait_for(lambda: len(opened) == 3 or bool(clock.pass_by(0.1)), 20)
    assert wait_for(lambda: sees(capture))
    capture.stop()


def test_frozen_pictures_are_a_setting(clock: ManualClock) -> None:
    opener = [ScriptedCamera([FOREVER], live=True, pause=0.005, still=True)]
    capture = Capture(CameraSettings(frozen=0), opener=lambda _: opener.pop(), clock=clock)
    capture.start()
    for _ in range(20):
        clock.pass_by(1)
        assert capture.get(1) is not None
    assert capture.degraded is None
    capture.stop()


def test_pictures_are_turned_upright_and_their_size_is_that_of_the_camera() -> None:
    class Wide(ScriptedCamera):
        def read(self) -> Frame | None:
            frame = super().read()
            assert frame is not None
            # From its hundredth picture on it gives another size.
            picture = np.zeros((2, 4, 3) if frame.number < 100 else (6, 4, 3), np.uint8)
            picture[0, 0] = 1 + frame.number % 200
            return Frame(picture, frame.number, frame.time, frame.at)

    capture = Capture(CameraSettings(rotate=90, flip="vertical"), opener=lambda _: Wide([FOREVER], live=True, pause=0.002))
    capture.start()
    first = capture.get(5)
    assert first.image.shape == (4, 2, 3)
    assert first.image[3, 1].all(), "the left upper corner goes right, then down"
    assert capture.size == (4, 2)
    assert wait_for(lambda: capture.size == (4, 6))
    assert wait_for(lambda: capture.get(1).image.shape == (4, 6, 3))
    assert (capture.degraded, capture.reopened) == (None, 0)
    capture.stop()


def test_a_replay_that_breaks_is_not_taken_for_one_that_is_through() -> None:
    class Broken(ScriptedCamera):
        def read(self) -> Frame | None:
            raise MemoryError("a frame of a million pixels a side")

    capture = Capture(REPLAY, opener=lambda _settings: Broken([], live=False))
    capture.start()
    assert wait_for(lambda: capture.ended)
    assert isinstance(capture.failure, MemoryError)
    capture.stop()


def test_a_real_network_camera_is_live_and_comes_back_after_it_hung_up() -> None:
    with NetworkCamera() as network:
        settings = CameraSettings(source=f"http://user:secret@127.0.0.1:{network.port}/live.mjpg?token=secret")
        camera = open_camera(settings)
        assert camera.live
        assert "64x48" in camera.describe()
        assert "secret" not in camera.describe()
        before, now = time.monotonic(), time.time()
        got = camera.read()
        assert got is not None
        assert before <= got.time <= time.monotonic()
        assert now <= got.at <= time.time()
        camera.close()

        capture = Capture(settings)
        capture.start()
        assert capture.get(5) is not None
        connections = network.connections
        network.hang_up()
        assert wait_for(lambda: capture.degraded is not None)
        network.back()
        assert wait_for(lambda: capture.degraded is None)
        assert network.connections > connections
        assert capture.reopened == 1
        capture.stop()


@pytest.mark.parametrize("size", [(160, 120), (32, 24)])
def test_a_network_camera_that_changes_its_size_goes_on_in_the_first_one(size: tuple[int, int]) -> None:
    with NetworkCamera() as network:
        capture = Capture(CameraSettings(source=f"http://127.0.0.1:{network.port}/live.mjpg"))
        capture.start()
        assert capture.get(5).image.shape == (48, 64, 3)
        network.size = size
        for _ in range(20):
            image = capture.get(5).image
            assert image.shape == (48, 64, 3)
            # The whole picture, not a corner of it: its right half is the brighter one.
            assert image[:, 40:].mean() > image[:, :24].mean() + 30
        assert (capture.degraded, capture.reopened) == (None, 0)
        capture.stop()
