"""Ribbon cameras are read by another program: real pictures from a real process, which ends when we do, whatever ends us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from boards import Board, running

from edge.camera import Camera, is_live, open_camera
from edge.camera.pi import PROGRAMS
from edge.config import CameraSettings
from edge.errors import CameraError


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    return Board(tmp_path, monkeypatch)


def open_ribbon(source: str, width: int = 640, height: int = 480, fps: float = 50) -> Camera:
    return open_camera(CameraSettings(source=source, width=width, height=height, fps=fps))


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.005)
    return met


@pytest.mark.parametrize(
    ("source", "asked", "real"),
    [
        ("csi", (640, 480), (640, 480)),
        ("csi:0", (800, 602), (800, 602)),
        ("pi", (640, 480), (640, 480)),
        ("pi:0", (800, 601), (896, 602)),
    ],
)
@pytest.mark.parametrize("pi5", [False, True])
def test_pictures_are_whole_whatever_the_rows_of_the_board_and_in_the_right_colours(
    board: Board, source: str, asked: tuple[int, int], real: tuple[int, int], pi5: bool
) -> None:
    board.is_wrong("pi5", pi5)
    camera = open_ribbon(source, *asked)
    try:
        assert camera.live
        assert f"{real[0]}x{real[1]}" in camera.describe()
        before, now = time.monotonic(), time.time()
        frames = [camera.read() for _ in range(3)]
        assert [frame.number for frame in frames] == [0, 1, 2]
        for frame in frames:
            assert before <= frame.time <= time.monotonic()
            assert now <= frame.at <= time.time()
            image, middle = frame.image, real[0] // 2
            assert (image.shape, image.dtype) == ((real[1], real[0], 3), np.uint8)
            assert image.flags.c_contiguous
            # Full range: pure red and blue, not a paler or a stronger one. A sheared picture would mix the halves.
            assert np.abs(image[4:, : middle - 4].astype(int) - (0, 0, 255)).max() <= 2
            assert np.abs(image[4:, middle + 4 :].astype(int) - (255, 0, 0)).max() <= 2
        assert not np.array_equal(frames[0].image, frames[1].image)
        assert frames[0].image is not frames[1].image
    finally:
        camera.close()
    assert board.given_back, "asked to end, not killed: Argus may not give a camera out again otherwise"
    assert not running(board.started[0])


def test_the_older_name_of_the_program_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Board(tmp_path, monkeypatch, programs=PROGRAMS[1:])
    camera = open_ribbon("pi")
    assert "by libcamera-vid" in camera.describe()
    camera.close()


@pytest.mark.parametrize(
    ("source", "wrong", "told"),
    [
        ("csi", None, r"gst-launch-1.0 is not installed, .* install gstreamer1.0-tools"),
        ("pi", None, r"rpicam-vid is not installed, .* install rpicam-apps-lite"),
        ("csi", "absent", r"csi camera 0: gst-launch-1.0 ended with status 1 \(Error generated. .*No cameras available\); check"),
        ("pi", "absent", r"pi camera 0: rpicam-vid ended with status 255 \(ERROR: \*\*\* no cameras available \*\*\*\); check"),
        ("csi:1", "", r"csi camera 1: .*No cameras available"),
        ("pi:3", "", r"pi camera 3: .*no cameras available"),
        ("pi", "adjusts", r"pi camera 0 gives 320x240 when asked for 640x480; set camera.width"),
        ("pi", "frozen", r"pi camera 0: no picture within 5 s of the start of rpicam-vid"),
        ("csi:x", "", r"camera.source csi:x: after the colon stands which camera it is, such as csi:1"),
        ("pi:-1", "", r"camera.source pi:-1: after the colon"),
    ],
)
def test_what_is_wrong_with_a_ribbon_camera_is_one_plain_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, wrong: str | None, told: str
) -> None:
    board = Board(tmp_path, monkeypatch, programs=() if wrong is None else ("rpicam-vid", "gst-launch-1.0"))
    if wrong:
        board.is_wrong(wrong)
    assert is_live(source)
    with pytest.raises(CameraError, match=told) as error:
        open_ribbon(source)
    assert "\n" not in str(error.value)
    assert not any(running(pid) for pid in board.started)


def test_a_program_that_ends_in_the_middle_of_a_picture_is_an_error_with_its_last_words(board: Board) -> None:
    board.is_wrong("half")
    camera = open_ribbon("pi")
    camera.read()
    with pytest.raises(CameraError, match=r"rpicam-vid ended with status 1 \(ERROR: Device timeout detected\)"):
        camera.read()
    camera.close()
    camera.close()


@pytest.mark.parametrize("source", ["csi", "pi"])
def test_a_read_that_blocks_returns_at_once_when_it_is_killed_and_nothing_is_left(board: Board, source: str) -> None:
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    camera = open_ribbon(source)
    pid = board.stop()
    begun = time.monotonic()
    threading.Timer(0.3, camera.kill).start()
    with pytest.raises(CameraError, match="was given up"):
        list(iter(camera.read, None))
    assert time.monotonic() - begun < 5
    camera.close()
    assert not running(pid)
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_closing_a_program_that_does_not_listen_takes_a_moment_and_kills_it(board: Board) -> None:
    camera = open_ribbon("pi")
    pid, begun = board.stop(), time.monotonic()
    camera.close()
    assert time.monotonic() - begun < 3
    assert not running(pid)
    assert not board.given_back


def test_a_chatty_program_is_not_stopped_by_a_full_pipe(board: Board) -> None:
    board.is_wrong("chatty")
    camera = open_ribbon("pi", fps=200)
    for _ in range(30):
        camera.read()
    camera.close()


OPENS = """
import sys, time
from edge.camera import open_camera
from edge.config import CameraSettings
camera = open_camera(CameraSettings(source="pi", fps=50))
print("open", flush=True)
time.sleep(60)
"""
# The same program, started as one would without the guard.
OPENS_PLAINLY = """
import subprocess, sys, time
arguments = sys.argv[1].split()
process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
process.stdout.read(1000)
print("open", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("guarded", [True, False])
def test_the_program_dies_with_us_even_when_we_are_killed_and_it_hangs(board: Board, tmp_path: Path, guarded: bool) -> None:
    line = f"{tmp_path}/bin/rpicam-vid --codec yuv420 --output - --flush --timeout 0 --nopreview --camera 0 --width 128"
    line += " --height 96 --framerate 50"
    code = [OPENS] if guarded else [OPENS_PLAINLY, line]
    with subprocess.Popen([sys.executable, "-c", *code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        pid = board.stop()
        os.kill(process.pid, signal.SIGKILL)
    try:
        assert wait_for(lambda: not running(pid), 5 if guarded else 0.5) == guarded
    finally:
        if running(pid):
            os.kill(pid, signal.SIGKILL)
