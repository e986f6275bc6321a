"""Replays are lossless, deterministic, and stamped with the presentation time; what is no source says so in one line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.camera import Camera, Frame, is_live, open_camera
from edge.config import CameraSettings
from edge.errors import CameraError


def frames(camera: Camera) -> list[Frame]:
    read = iter(camera.read, None)
    try:
        return [frame for frame in read if frame is not None]
    finally:
        camera.close()


def open_source(source: Path | str, still: float = 3.0) -> Camera:
    return open_camera(CameraSettings(source=str(source), still=still))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty frames at 12.5 frames/s, each brighter than the last."""
    path = tmp_path_factory.mktemp("video") / "ramp.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 12.5, (64, 48))
    for level in range(0, 240, 8):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    return path


def test_a_video_gives_every_frame_with_its_time(video: Path) -> None:
    camera = open_source(video)
    assert not camera.live
    assert camera.describe() == "video ramp.mp4, 64x48 at 12.5 frames/s"
    got = frames(camera)
    assert [frame.number for frame in got] == list(range(30))
    assert [frame.time for frame in got] == pytest.approx([number / 12.5 for number in range(30)], abs=1e-3)
    assert all(frame.at == frame.time and frame.scene == 0 for frame in got)
    levels = [frame.image.mean() for frame in got]
    assert levels == sorted(levels)
    assert got[0].image.shape == (48, 64, 3)


def test_real_video_is_read_to_its_end_twice_the_same(testdata: Path) -> None:
    once, again = (frames(open_source(testdata / "media" / "stage-performance.mp4")) for _ in range(2))
    assert len(once) == 275
    assert once[-1].time == pytest.approx(274 / 29.97, abs=1e-3)
    assert all(np.array_equal(a.image, b.image) and a.time == b.time for a, b in zip(once, again, strict=True))


def test_a_video_that_is_cut_off_ends_early_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(100):
        writer.write(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    got = frames(open_source(path))
    assert 0 < len(got) < 60
    assert "damaged or cut off" in caplog.text


def test_a_picture_is_held(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    cv2.imwrite(str(path), np.full((40, 50, 3), 7, np.uint8))
    camera = open_source(path, still=2.0)
    assert camera.describe() == "picture one.png, 50x40"
    got = frames(camera)
    assert [frame.time for frame in got] == pytest.approx([number / 10 for number in range(20)])
    assert {(frame.scene, frame.image.shape) for frame in got} == {(0, (40, 50, 3))}


def test_a_folder_is_an_album_by_name_and_every_picture_a_scene(tmp_path: Path) -> None:
    for name, level in (("b.jpg", 100), ("a.PNG", 50), ("c.webp", 200)):
        cv2.imwrite(str(tmp_path / name), np.full((40, 50, 3), level, np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    got = frames(open_source(tmp_path, still=0.5))
    assert [round(float(frame.image.mean()), -1) for frame in got] == [50] * 5 + [100] * 5 + [200] * 5
    assert [frame.scene for frame in got] == [0] * 5 + [1] * 5 + [2] * 5
    assert [frame.number for frame in got] == list(range(15))
    assert [frame.time for frame in got] == pytest.approx([number / 10 for number in range(15)])


def test_a_damaged_picture_in_the_middle_is_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.png", "b.png", "c.png"):
        cv2.imwrite(str(tmp_path / name), np.full((40, 50, 3), 9, np.uint8))
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:20])
    got = frames(open_source(tmp_path, still=0.2))
    assert [frame.scene for frame in got] == [0, 0, 2, 2]
    assert "b.png: a damaged picture; remove it or save it again; it is left out" in caplog.text


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("none.mp4", "no such file or folder"),
        ("none.jpg", "no such file"),
        ("text.mp4", "not a video that can be read"),
        ("text.jpg", "not a picture that can be read"),
        ("empty.mp4", "not a video that can be read"),
        ("half.png", "a damaged picture"),
        ("empty_folder", "no pictures in this folder"),
        ("folder_with_text", "text.jpg: not a picture"),
        ("/dev/video97", "no such camera"),
        ("97", "/dev/video97: no such camera"),
        ("/dev/null", "not a camera"),
        ("http://127.0.0.1:9/video", "cannot be opened"),
        ("rtsp://user:secret@127.0.0.1:9/video?token=secret", "cannot be opened"),
    ],
)
def test_what_is_no_source_is_one_plain_line(tmp_path: Path, name: str, told: str) -> None:
    for text in ("text.mp4", "text.jpg"):
        (tmp_path / text).write_text("hello, I am a text\n" * 100)
    (tmp_path / "empty.mp4").write_bytes(b"")
    cv2.imwrite(str(tmp_path / "half.png"), np.zeros((40, 50, 3), np.uint8))
    (tmp_path / "half.png").write_bytes((tmp_path / "half.png").read_bytes()[:20])
    (tmp_path / "empty_folder").mkdir()
    (tmp_path / "folder_with_text").mkdir()
    shutil.copy(tmp_path / "text.jpg", tmp_path / "folder_with_text")
    source = name if "/" in name or name.isdecimal() else str(tmp_path / name)
    with pytest.raises(CameraError, match=told) as error:
        open_source(source)
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def test_opencv_and_ffmpeg_keep_quiet(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello\n" * 100)
    (tmp_path / "text.jpg").write_text("hello\n" * 100)
    code = (
        "import sys\n"
        "from edge.camera import open_camera\nfrom edge.config import CameraSettings\nfrom edge.errors import CameraError\n"
        "for source in sys.argv[1:]:\n"
        "    try: open_camera(CameraSettings(source=source))\n"
        "    except CameraError as error: print(error)\n"
    )
    sources = [str(tmp_path / "text.mp4"), str(tmp_path / "text.jpg"), "97", "/dev/null", "http://127.0.0.1:9/x"]
    done = subprocess.run([sys.executable, "-c", code, *sources], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == len(sources)


def test_which_sources_are_live() -> None:
    assert all(is_live(source) for source in ("0", "12", "/dev/video0", "rtsp://camera/1", "HTTP://camera/x.mjpg"))
    assert not any(is_live(source) for source in ("demo", "video.mp4", "folder", "./0", "a://b"))
