"""Whatever a driver or file gives becomes an upright BGR picture of a sane size, or one plain sentence."""

from __future__ import annotations

import struct
import subprocess
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.camera import open_camera
from edge.camera.geometry import MOST_PIXELS, refuse_giants, to_bgr, upright
from edge.config import CameraSettings
from edge.errors import CameraError

# Two rows of three pixels, each known by its number.
PIXELS = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, axis=2)


@pytest.mark.parametrize(
    ("rotate", "flip", "expected"),
    [
        (0, "none", [[0, 1, 2], [3, 4, 5]]),
        (90, "none", [[3, 0], [4, 1], [5, 2]]),
        (180, "none", [[5, 4, 3], [2, 1, 0]]),
        (270, "none", [[2, 5], [1, 4], [0, 3]]),
        (0, "horizontal", [[2, 1, 0], [5, 4, 3]]),
        (0, "vertical", [[3, 4, 5], [0, 1, 2]]),
        (90, "horizontal", [[0, 3], [1, 4], [2, 5]]),
        (270, "vertical", [[0, 3], [1, 4], [2, 5]]),
    ],
)
def test_a_picture_is_turned_clockwise_and_then_mirrored(rotate: int, flip: str, expected: list[list[int]]) -> None:
    turned = upright(PIXELS, rotate, flip)
    assert turned[:, :, 0].tolist() == expected
    assert turned.flags.c_contiguous
    assert (turned is PIXELS) == (rotate == 0 and flip == "none"), "no copy where there is nothing to do"


@pytest.mark.parametrize(
    "image",
    [
        np.full((4, 6), 77, np.uint8),
        np.full((4, 6, 1), 77, np.uint8),
        np.full((4, 6, 3), 77, np.uint8),
        np.full((4, 6, 4), 77, np.uint8),
        np.full((4, 6), 77 << 8 | 200, np.uint16),
        np.full((4, 6, 3), 77 << 8, np.uint16),
        np.full((8, 12, 3), 77, np.uint8)[::2, ::2],
    ],
    ids=["grey", "one channel", "bgr", "bgra", "16 bit grey", "16 bit bgr", "strided"],
)
def test_pictures_of_every_kind_become_bgr(image: np.ndarray) -> None:
    picture = to_bgr(image)
    assert (picture.shape, picture.dtype) == ((4, 6, 3), np.uint8)
    assert picture.flags.c_contiguous
    assert (picture == 77).all()
    assert to_bgr(picture) is picture


@pytest.mark.parametrize("shape", [(4, 6, 2), (4, 6, 5), (0, 6, 3), (6,), (2, 4, 6, 3)])
def test_pictures_of_no_known_kind_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(CameraError, match="are not known"):
        to_bgr(np.zeros(shape, np.uint8))
    with pytest.raises(CameraError, match="float32 are not known"):
        to_bgr(np.zeros((4, 6, 3), np.float32))


def test_giants_are_refused_by_their_size_alone() -> None:
    refuse_giants("camera", 8192, 8192)
    with pytest.raises(CameraError, match=r"camera: pictures of 10000x10000 are more than the 67 million"):
        refuse_giants("camera", 10_000, 10_000)


def write_png(path: Path, width: int, height: int) -> None:
    """A grey picture as a few hundred kilobytes, whatever its size."""
    rows = zlib.compressobj(1)
    packed = b"".join([*(rows.compress(b"\0" * (width + 1)) for _ in range(height)), rows.flush()])
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", packed), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def test_a_picture_of_a_hundred_megapixels_is_refused_and_left_out_of_an_album(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_png(tmp_path / "b.png", 10_000, 10_000)
    with pytest.raises(CameraError, match=r"b.png: a picture of more than 67 million pixels; save it smaller"):
        open_camera(CameraSettings(source=str(tmp_path / "b.png")))
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 50, 3), np.uint8))
    album = open_camera(CameraSettings(source=str(tmp_path), still=0.1))
    assert album.read() is not None
    assert album.read() is None
    assert "b.png: a picture of more than 67 million pixels; save it smaller; it is left out" in caplog.text
    assert MOST_PIXELS < 10_000 * 10_000


@pytest.mark.parametrize("make", ["16 bit grey", "alpha", "grey"])
def test_pictures_of_every_kind_in_files(tmp_path: Path, make: str) -> None:
    pictures = {
        "16 bit grey": np.full((4, 6), 77 << 8, np.uint16),
        "alpha": np.full((4, 6, 4), 77, np.uint8),
        "grey": np.full((4, 6), 77, np.uint8),
    }
    cv2.imwrite(str(tmp_path / "one.png"), pictures[make])
    frame = open_camera(CameraSettings(source=str(tmp_path / "one.png"))).read()
    assert frame is not None
    assert (frame.image == 77).all()
    assert frame.image.shape == (4, 6, 3)


@pytest.mark.parametrize(
    ("size", "pixels"), [("1x1", "bgr0"), ("2x2", "gray"), ("64x48", "gray"), ("64x48", "bgra"), ("64x48", "gray16le")]
)
def test_videos_of_every_kind(tmp_path: Path, size: str, pixels: str) -> None:
    path = tmp_path / "odd.mkv"
    width, height = map(int, size.split("x"))
    source = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", size, "-r", "10", "-i", "-"]
    # FFV1 keeps the pixels as they are.
    command = ["ffmpeg", "-v", "error", *source, "-c:v", "ffv1", "-pix_fmt", pixels, str(path)]
    subprocess.run(command, input=bytes([77]) * width * height * 5, check=True, timeout=60)
    video = open_camera(CameraSettings(source=str(path)))
    got = [frame for frame in iter(video.read, None) if frame is not None]
    video.close()
    assert len(got) == 5
    assert {frame.image.shape for frame in got} == {(height, width, 3)}
    assert all(abs(int(frame.image.mean()) - 77) <= 2 for frame in got)


def test_a_gigantic_video_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "giant.avi"
    source = "color=c=black:s=9000x9000:r=1:d=1"
    encode = ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-frames:v", "1"]
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, *encode, str(path)], check=True, timeout=120)
    with pytest.raises(CameraError, match=r"giant.avi: pictures of 9000x9000 are more than the 67 million pixels"):
        open_camera(CameraSettings(source=str(path)))
