"""The demo: real portraits, found by a real detector, the same pixels every time."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edge.camera import Frame, open_camera
from edge.camera.demo import VISITS
from edge.config import CameraSettings, DetectorSettings, TrackSettings
from edge.faces import FaceDetector, open_detector
from edge.faces.tracks import Tracker


@pytest.fixture(scope="module")
def demo() -> list[Frame]:
    camera = open_camera(CameraSettings(source="demo"))
    assert not camera.live
    assert camera.describe() == "demo, 640x480 at 15 frames/s"
    return [frame for frame in iter(camera.read, None) if frame is not None]


def people(frame: Frame) -> int:
    """Who stands on the stage, not sliding."""
    return sum(visit.begin + 0.5 <= frame.time <= visit.end - 0.5 for visit in VISITS)


def watch(detector: FaceDetector, demo: list[Frame]) -> tuple[float, int]:
    """Share of the standing people who are found, and the number of tracks that were seen for longer than a blink."""
    tracker, found, standing, seen = Tracker(TrackSettings()), 0, 0, Counter[int]()
    for frame in demo:
        faces = detector.detect(frame.image)
        tracked, _ = tracker.update(faces, frame)
        seen.update(face.track for face in tracked if face.seen)
        found += min(len(faces), people(frame))
        standing += people(frame)
    return found / standing, sum(count > 5 for count in seen.values())


def test_the_demo_is_twelve_seconds_and_always_the_same(demo: list[Frame]) -> None:
    again = open_camera(CameraSettings(source="demo"))
    assert len(demo) == 180
    assert demo[-1].time == pytest.approx(179 / 15)
    assert all(np.array_equal(frame.image, other.image) for frame in demo if (other := again.read()) is not None)
    assert demo[0].image.shape == (480, 640, 3)


def test_haar_finds_the_people_of_the_demo(demo: list[Frame]) -> None:
    share, tracks = watch(open_detector(DetectorSettings(kind="haar")), demo)
    assert share > 0.95
    assert tracks == len(VISITS)


def test_yunet_finds_the_people_of_the_demo(demo: list[Frame], testdata: Path) -> None:
    weights = str(testdata / "models" / "yunet_n_320_320.onnx")
    share, tracks = watch(open_detector(DetectorSettings(kind="yunet", weights=weights)), demo)
    assert share > 0.98
    assert tracks == len(VISITS)


def test_the_portraits_are_found_without_importing_their_packages() -> None:
    code = (
        "import sys\nfrom edge.camera import open_camera\nfrom edge.config import CameraSettings\n"
        "open_camera(CameraSettings(source='demo')).read()\nprint('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("False\n", "")
