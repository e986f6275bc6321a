"""edge-doctor and the camera: its ioctls byte for byte, its formats, who holds it, and a frame."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.config import CameraSettings, Settings
from edge.doctor import camera, v4l2
from edge.doctor.finding import Finding
from edge.doctor.processes import edge_runs, holders
from edge.doctor.v4l2 import Size

# What a C program prints with linux/videodev2.h of Linux 6.1 on x86-64: sizeof, _IOC numbers, and structs filled by name.
SIZES = {v4l2.CAPABILITY: 104, v4l2.FORMAT: 64, v4l2.FRAME_SIZE: 44, v4l2.FRAME_INTERVAL: 52}
WEBCAM = bytes.fromhex(
    "757663766964656f000000000000000048442050726f2057656263616d204339323000000000000000000000000000007573622d303030303a30313a"
    "30302e302d312e33000000000000000000000000220c06000100a08401002004000000000000000000000000"
)
MOTION_JPEG = bytes.fromhex(
    "0100000001000000010000004d6f74696f6e2d4a5045470000000000000000000000000000000000000000004d4a504700000000000000000000000000"
    "000000"
)
VGA = bytes.fromhex("020000004d4a50470100000080020000e0010000000000000000000000000000000000000000000000000000")
THIRTY = bytes.fromhex("000000004d4a504780020000e001000001000000010000001e000000000000000000000000000000000000000000000000000000")


def test_structs_have_the_sizes_that_their_ioctls_carry() -> None:
    for layout, size in SIZES.items():
        assert layout.size == size
    # _IOC: direction 2 bits, size 14 bits, type 8 bits, number 8 bits (asm-generic/ioctl.h).
    for request, direction, layout, number in (
        (v4l2.QUERYCAP, 2, v4l2.CAPABILITY, 0),
        (v4l2.ENUM_FMT, 3, v4l2.FORMAT, 2),
        (v4l2.ENUM_FRAMESIZES, 3, v4l2.FRAME_SIZE, 74),
        (v4l2.ENUM_FRAMEINTERVALS, 3, v4l2.FRAME_INTERVAL, 75),
    ):
        assert request == direction << 30 | layout.size << 16 | ord("V") << 8 | number


def test_bytes_of_a_driver_are_read_as_the_header_wrote_them() -> None:
    def ask(request: int, content: bytes) -> bytes | None:
        index = struct.unpack_from("I", content)[0]
        answers = {v4l2.ENUM_FMT: MOTION_JPEG, v4l2.ENUM_FRAMESIZES: VGA, v4l2.ENUM_FRAMEINTERVALS: THIRTY}
        return WEBCAM if request == v4l2.QUERYCAP else answers[request] if index == 0 else None

    found = v4l2.capability(ask)
    assert found == v4l2.Capability("uvcvideo", "HD Pro Webcam C920", "usb-0000:01:00.0-1.3", captures=True, planes=False)
    assert v4l2.formats(ask, planes=False) == (v4l2.Format("MJPG", (Size((640, 480), (640, 480)),)),)
    assert v4l2.fastest(ask, "MJPG", 640, 480) == 30.0


class Driver:
    """A V4L2 driver's side of the ioctls: formats with sizes and rates, in its own structs."""

    def __init__(
        self,
        table: dict[str, dict[tuple[int, int], tuple[int, ...]]],
        *,
        driver: str = "uvcvideo",
        bits: int = 0x0420_0001,
        ranges: bool = False,
    ) -> None:
        self.table, self.driver, self.bits, self.ranges = table, driver, bits, ranges

    def __call__(self, request: int, content: bytes) -> bytes | None:
        index, *rest = struct.unpack_from("=I4sII", content)
        code = rest[0].decode("latin-1")
        if request == v4l2.QUERYCAP:
            # The whole card captures and writes metadata; this device does what its own bits say.
            whole = 0x8480_0001
            return struct.pack("=16s32s32sIII12x", self.driver.encode(), b"Camera", b"usb-1", 0, whole, self.bits)
        try:
            if request == v4l2.ENUM_FMT:
                assert rest[0] == struct.pack("I", 9 if self.bits & 0x1000 else 1)
                return struct.pack("=III32s4sI12x", index, 1, 0, b"", list(self.table)[index].encode(), 0)
            if request == v4l2.ENUM_FRAMESIZES:
                if self.ranges:
                    return struct.pack("=I4sI6I8x", index, rest[0], 3, 32, 2592, 2, 32, 1944, 2) if index == 0 else None
                width, height = list(self.table[code])[index]
                return struct.pack("=I4sI2I24x", index, rest[0], 1, width, height)
            size = struct.unpack_from("=II", content, 8)
            rate = self.table[code][size][index]
            return struct.pack("=I4sIII2I24x", index, rest[0], *size, 1, 1, rate)
        except (IndexError, KeyError):
            return None


ORDINARY = {
    "YUYV": {(640, 480): (30, 15), (1280, 720): (10,)},
    "MJPG": {(640, 480): (30,), (1280, 720): (30,), (1920, 1080): (30,)},
}


@pytest.mark.parametrize(
    ("driver", "wanted", "device", "formats", "told"),
    [
        (Driver(ORDINARY), {}, "good", "good", "640x480 as YUYV at up to 30 frames/s, MJPG at up to 30"),
        (Driver(ORDINARY), {"width": 1920, "height": 1080}, "good", "good", "1920x1080 as MJPG"),
        (Driver(ORDINARY), {"width": 800, "height": 600}, "good", "warning", "no 800x600; it has YUYV 640x480, 1280x720; MJPG"),
        (Driver(ORDINARY), {"fps": 60.0}, "good", "warning", "not 60 frames/s"),
        (Driver({"YUYV": {(640, 480): ()}}), {"fps": 60.0}, "good", "good", "640x480 as YUYV"),
        (Driver({"YUYV": {}}, ranges=True), {}, "good", "good", "640x480"),
        (Driver({"YUYV": {}}, ranges=True), {"width": 4096, "height": 480}, "good", "warning", "32x32 to 2592x1944"),
        (Driver({}), {}, "good", "warning", "lists no formats"),
        (Driver(ORDINARY, bits=0x0420_1000), {}, "good", "good", "640x480"),
        # The metadata device of the same camera.
        (Driver(ORDINARY, bits=0x04A0_0000), {}, "broken", None, "gives no pictures"),
        (Driver(ORDINARY, driver="unicam"), {}, "broken", None, "ribbon camera"),
        (Driver(ORDINARY, driver="tegra-video"), {}, "broken", None, "ribbon camera"),
    ],
)
def test_what_a_camera_offers_is_held_against_what_is_asked(
    tmp_path: Path, driver: Driver, wanted: dict[str, float], device: str, formats: str | None, told: str
) -> None:
    found = list(camera.answers(CameraSettings(**wanted), Path("/dev/video0"), driver, tmp_path))
    assert [finding.verdict for finding in found] == [verdict for verdict in (device, formats) if verdict]
    assert told in found[-1].text


def check(source: Path | str, root: Path = Path("/"), **camera_settings: object) -> dict[str, Finding]:
    found = camera.check(Settings(camera=CameraSettings(source=str(source), **camera_settings)), root)  # type: ignore[arg-type]
    return {finding.name: finding for finding in found}


def test_a_device_that_is_missing_or_none_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    names = tmp_path / "dev/v4l/by-id"
    names.mkdir(parents=True)
    found = check("7", tmp_path)
    assert found["camera.device"].text.endswith("/dev/video7 is not there; there are none")
    (tmp_path / "dev/video0").write_bytes(b"")
    (names / "usb-Webcam-index0").symlink_to("../../video0")
    assert "usb-Webcam-index0" in check("7", tmp_path)["camera.device"].text
    # A file is opened as a device would be, and knows no ioctl.
    assert "is no V4L2 device" in check("0", tmp_path)["camera.device"].text
    assert list(check("0", tmp_path)) == ["camera.device"]


def test_one_of_several_cameras_is_better_named_than_numbered(tmp_path: Path) -> None:
    names = tmp_path / "dev/v4l/by-id"
    names.mkdir(parents=True)
    for number in (0, 2):
        (tmp_path / f"dev/video{number}").write_bytes(b"")
        (names / f"usb-Camera_{number}-index0").symlink_to(f"../../video{number}")
    found = list(camera.device(CameraSettings(source="2"), tmp_path))
    named = [finding for finding in found if finding.name == "camera.name"]
    assert [finding.verdict for finding in named] == ["warning"]
    assert "usb-Camera_2-index0" in (named[0].remedy or "")


@pytest.mark.parametrize(("mode", "verdict"), [(0o660, "broken"), (0o666, "good")])
def test_the_services_user_is_asked_whether_it_may(public: Path, mode: int, verdict: str) -> None:
    unit = public / "etc/systemd/system/emotion-edge.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nUser=nobody\n")
    device = public / "dev/video0"
    device.parent.mkdir()
    device.touch()
    device.chmod(mode)
    found = next(iter(camera.device(CameraSettings(source="0"), public)))
    assert ("nobody may not use" in found.text) == (verdict == "broken")


HOLD = "import sys; file = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"


@contextmanager
def holding(path: Path, name: str) -> Iterator[int]:
    """A process of this name that has a file open."""
    script = path.with_name(name)
    script.write_text(f"#!{sys.executable}\n{HOLD}\n")
    script.chmod(0o755)
    with subprocess.Popen([script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize(("name", "verdict"), [("edge-run", "good"), ("another-program.py", "warning")])
def test_who_holds_the_camera_is_named(tmp_path: Path, name: str, verdict: str) -> None:
    device = tmp_path / "dev" / "video0"
    device.parent.mkdir()
    device.write_bytes(b"")
    assert list(camera.in_use(device)) == []
    with holding(device, name) as pid:
        assert [process.pid for process in holders(device)] == [pid]
        assert any(process.pid == pid for process in edge_runs()) == (verdict == "good")
        found = list(camera.in_use(device))
        assert [finding.verdict for finding in found] == [verdict]
        assert f"(pid {pid})" in found[0].text
        # What somebody holds is left alone. Of this machine's processes it sees that one: others may run edge-run here too.
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc" / str(pid)).symlink_to(f"/proc/{pid}")
        assert camera.frame(CameraSettings(source="0"), tmp_path).verdict == "skipped"
    assert holders(device) == []
    assert camera.frame(CameraSettings(source="0"), tmp_path).verdict == "broken"


def test_the_doctor_does_not_find_itself(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with file.open():
        assert holders(file) == []


def test_a_frame_comes_from_files_and_the_demo_and_faults_are_told(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), np.zeros((48, 64, 3), np.uint8))
    assert check(picture)["camera.frame"].verdict == "good"
    assert check("demo")["camera.frame"].verdict == "good"
    (tmp_path / "no.mp4").write_bytes(b"no video")
    for source in (tmp_path / "no.mp4", tmp_path / "missing.png", "ftp://camera/"):
        found = check(source)["camera.frame"]
        assert found.verdict == "broken"
        assert found.remedy


URL = "rtsp://admin:hunter2@127.0.0.1:{}/live?token=abc"


def test_a_stream_that_nobody_serves_is_told_without_its_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = list(camera.stream(URL.format(port)))
        assert [finding.verdict for finding in found] == ["good"]
        assert f"port {port}" in found[0].text
    found = list(camera.stream(URL.format(port)))
    assert [finding.verdict for finding in found] == ["broken"]
    wrong = [*camera.stream("rtsp://admin:hunter2@127.0.0.1:99999/"), *camera.stream("rtsp://admin:hunter2@[oops/"), *found]
    assert [finding.verdict for finding in wrong] == ["broken"] * 3
    assert not any(secret in str(wrong) for secret in ("hunter2", "admin", "abc"))


def test_a_ribbon_camera_wants_its_program_and_a_jetson_its_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    verdict: Callable[[str], str] = lambda source: next(camera.ribbon(source, tmp_path)).verdict  # noqa: E731
    assert (verdict("pi"), verdict("csi:1")) == ("broken", "broken")
    for name in ("libcamera-vid", "gst-launch-1.0"):
        (tmp_path / name).touch(mode=0o755)
    assert (verdict("pi:1"), verdict("csi")) == ("good", "broken")
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp/argus_socket").touch()
    assert verdict("csi") == "good"


def test_ioctls_of_a_descriptor_end_where_the_driver_has_no_more() -> None:
    reader, writer = os.pipe()
    try:
        assert v4l2.capability(v4l2.ask_device(reader)) is None
    finally:
        os.close(reader)
        os.close(writer)
