"""benchmarks/pipeline.py counts faces as it says, and runs from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edge.types import Face

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
from pipeline import score  # noqa: E402  benchmarks/ is a folder of scripts, not a package


@pytest.mark.parametrize(
    ("found", "matched", "false"),
    [
        ([], 0, 0),
        ([(100, 100, 80)], 1, 0),
        ([(110, 100, 80), (300, 100, 60)], 2, 0),
        # IoU 1/3, and a square where nobody is.
        ([(140, 100, 80), (500, 500, 80)], 0, 2),
        # Two squares on one face: one is too many, the better one is it.
        ([(100, 100, 80), (104, 100, 80)], 1, 1),
    ],
)
def test_each_face_is_matched_once_and_what_is_left_is_false(
    found: list[tuple[float, float, float]], matched: int, false: int
) -> None:
    truth = [Face(100, 100, 80), Face(300, 100, 60)]
    assert score([[list(square) for square in found]], [truth]) == (matched, false)


def test_a_frame_that_was_dropped_matches_nothing() -> None:
    assert score([None, [[1.0, 1.0, 10.0]]], [[Face(1, 1, 10)], [Face(1, 1, 10)]]) == (1, 0)


@pytest.mark.full
def test_it_runs_and_finds_what_yunet_finds(testdata: Path) -> None:
    command = [sys.executable, ROOT / "benchmarks" / "pipeline.py", "--media", testdata / "media" / "stage-performance.mp4"]
    command += [
        "--weights",
        testdata / "models" / "yunet_n_320_320.onnx",
        "--frames",
        "60",
        "--runs",
        "1",
        "--without-fer",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    rows = report["contenders"]
    assert rows["edge, yunet, k = 1"]["matched"] == rows["bare loop, yunet"]["matched"] == report["faces"] > 50
    assert rows["edge, yunet, k = 3"]["matched"] > 0.8 * report["faces"]
    # Promised are 5 %, by the medians of a quiet machine; this only says that it is measured.
    assert -0.5 < report["overhead"]["yunet"] < 0.5
    assert report["left out"] == {"fer==25.10.3": "--without-fer"}
