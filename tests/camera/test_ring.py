"""The ring is bounded, live frames are young, replays whole; a camera that fails is opened again, and stop is prompt."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
from fakes import ScriptedCamera

from edge.camera import Frame, open_camera
from edge.camera.ring import CAPACITY, Capture, Ring
from edge.config import CameraSettings
from edge.errors import CameraError

BLACK = np.zeros((1, 1, 3), np.uint8)
LIVE, REPLAY = CameraSettings(source="0"), CameraSettings(source="some.mp4")


def frame(number: int) -> Frame:
    return Frame(BLACK, number, float(number), float(number))


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def all_frames(capture: Capture) -> Iterator[Frame]:
    while not capture.ended:
        got = capture.get(0.05)
        if got is not None:
            yield got


def test_live_frames_push_the_oldest_out_and_are_counted() -> None:
    ring = Ring(3)
    for number in range(10):
        ring.put(frame(number), wait=False)
    ring.close()
    assert ring.dropped == 7
    assert [ring.get(0).number for _ in range(3)] == [7, 8, 9]
    assert ring.get(10) is None
    assert ring.ended


def test_a_replay_waits_for_room_and_loses_nothing() -> None:
    capture = Capture(REPLAY, opener=lambda _: ScriptedCamera([10], live=False))
    capture.start()
    assert wait_for(lambda: capture.captured == CAPACITY)
    time.sleep(0.05)
    assert capture.captured == CAPACITY
    assert [got.number for got in all_frames(capture)] == list(range(10))
    assert (capture.captured, capture.dropped) == (10, 0)
    capture.stop()


def test_an_empty_ring_times_out() -> None:
    ring, start = Ring(), time.monotonic()
    assert ring.get(0.1) is None
    assert 0.09 < time.monotonic() - start < 1
    assert not ring.ended


def test_a_camera_that_fails_is_opened_again_and_its_numbers_go_on(caplog: pytest.LogCaptureFixture) -> None:
    opened: list[ScriptedCamera] = []

    def opener(_: CameraSettings) -> ScriptedCamera:
        if len(opened) == 1:
            opened.append(ScriptedCamera([], live=True))
            raise CameraError("unplugged")
        opened.append(ScriptedCamera([CAPACITY if not opened else 10_000], live=True, pause=0.01))
        return opened[-1]

    capture = Capture(LIVE, opener=opener)
    capture.start()
    assert wait_for(lambda: capture.degraded is not None)
    first = [capture.get(1).number for _ in range(CAPACITY)]
    assert wait_for(lambda: capture.degraded is None)
    assert first == list(range(CAPACITY))
    assert capture.get(1).number >= CAPACITY
    capture.stop()
    assert opened[0].closed
    assert opened[2].closed
    told = [record.getMessage() for record in caplog.records if "trying again" in record.getMessage()]
    assert told == ["the script is through; trying again in 0.5 s", "unplugged; trying again in 1.0 s"]


def test_a_missing_camera_is_an_error_in_a_terminal_and_waited_for_as_a_service() -> None:
    there = threading.Event()

    def opener(_: CameraSettings) -> ScriptedCamera:
        if not there.is_set():
            raise CameraError("no such camera")
        return ScriptedCamera([10_000], live=True, pause=0.01)

    with pytest.raises(CameraError, match="no such camera"):
        Capture(LIVE, opener=opener).start()
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


@pytest.mark.parametrize("live", [True, False])
def test_stop_is_prompt_while_a_read_blocks_or_the_ring_is_full(live: bool) -> None:
    camera = ScriptedCamera([1 if live else 10_000], live=live, then_block=True)
    capture = Capture(LIVE if live else REPLAY, opener=lambda _: camera)
    capture.start()
    assert capture.get(1) is not None
    start = time.monotonic()
    capture.stop()
    assert time.monotonic() - start < 1.5
    assert wait_for(lambda: capture.get(0) is None and capture.ended)
    camera.release.set()
    assert wait_for(lambda: camera.closed)


class Mjpeg(BaseHTTPRequestHandler):
    """A network camera: multipart JPEG at 20 frames/s, which hangs up when the server is told to."""

    def do_GET(self) -> None:
        self.server.connections += 1
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        picture = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
        try:
            while not self.server.hang_up.wait(0.05):
                part = io.BytesIO()
                part.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture))
                part.write(picture + b"\r\n")
                self.wfile.write(part.getvalue())
        except ConnectionError:
            pass

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def network_camera() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Mjpeg) as server:
        server.daemon_threads = True
        server.hang_up, server.connections = threading.Event(), 0
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.hang_up.set()
        server.shutdown()
        thread.join()


def test_a_real_network_camera_is_live_and_comes_back_after_it_hung_up(network_camera: ThreadingHTTPServer) -> None:
    settings = CameraSettings(source=f"http://user:secret@127.0.0.1:{network_camera.server_port}/live.mjpg?token=secret")
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
    connections = network_camera.connections
    network_camera.hang_up.set()
    assert wait_for(lambda: capture.degraded is not None, 10)
    network_camera.hang_up.clear()
    assert wait_for(lambda: capture.degraded is None, 10)
    assert network_camera.connections > connections
    capture.stop()


def test_whatever_a_driver_raises_a_live_camera_is_opened_again() -> None:
    tries = []

    def opener(_settings: CameraSettings) -> ScriptedCamera:
        tries.append(time.monotonic())
        raise RuntimeError("out of something")

    capture = Capture(LIVE, service=True, opener=opener)
    capture.start()
    assert wait_for(lambda: len(tries) >= 2)
    assert capture.degraded == "out of something"
    assert not capture.ended
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
