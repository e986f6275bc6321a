"""Without booting: the bundle in Debian's own userland for 64-bit ARM, by qemu-user (scripts/test --device=quick)."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from device import debian, foreign, parts
from device.cache import cached, digest

XNNPACK = "Created TensorFlow Lite XNNPACK delegate"
SCORES = f"{parts.TOOLS}/scores.py"
MODEL = "/opt/emotion-edge/current/models/model.tflite"


@pytest.fixture(scope="session")
def installed() -> Path:
    """A root file system in which the bundle's installer has run."""
    foreign.need_binfmt()
    bundle = parts.bundle()

    def make(folder: Path) -> None:
        root = parts.unpack_root(folder / "root")
        parts.lay_tools(root)
        parts.unpack_bundle(bundle, root / "srv/bundle")
        done = foreign.run(root, "cortex-a72", "sh", "/srv/bundle/install.sh")
        assert done.returncode == 0, done.stdout + done.stderr

    files = [bundle, *sorted(parts.GUEST.glob("*.py")), Path(parts.__file__), Path(foreign.__file__)]
    return cached("installed", digest([debian.root().parent.name, *files]), make) / "root"


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What this machine's own processor computes."""
    return parts.scores_here(tmp_path_factory.mktemp("here"))


def test_the_installer_leaves_a_program_that_knows_itself(installed: Path) -> None:
    done = foreign.run(installed, "cortex-a72", "/usr/local/bin/edge-run", "--check")
    assert done.returncode == 0, done.stderr
    assert "ready: mobilenet" in done.stdout


@pytest.mark.parametrize("cpu", foreign.FEATURES)
def test_int8_scores_are_those_of_x86_bit_for_bit(installed: Path, expected: str, cpu: str) -> None:
    done = foreign.run(installed, cpu, parts.PYTHON, SCORES, MODEL, parts.CROP)
    assert done.returncode == 0, done.stderr
    assert XNNPACK in done.stderr
    assert done.stdout == expected


@pytest.mark.parametrize("cpu", foreign.FEATURES)
def test_yunet_finds_the_faces_that_it_finds_on_x86(installed: Path, testdata: Path, tmp_path: Path, cpu: str) -> None:
    """Sums of float32 in another order: not the same bits."""
    picture = cv2.imread(str(testdata / "media" / "two-people.jpg"))
    assert picture is not None
    weights = testdata / "models" / "yunet_n_320_320.onnx"
    parts.lay_tools(tmp_path)
    np.save(tmp_path / "picture.npy", cv2.resize(picture, (320, 240), interpolation=cv2.INTER_AREA))
    here = json.loads(parts.run_here(tmp_path, "faces.py", weights, tmp_path / "picture.npy"))
    # The tree is kept for the next run: what is laid into it goes again.
    with tempfile.TemporaryDirectory(dir=installed / "srv") as folder:
        for file in (weights, tmp_path / "picture.npy"):
            shutil.copy(file, folder)
        inside = f"/srv/{Path(folder).name}"
        tool = f"{parts.TOOLS}/faces.py"
        done = foreign.run(installed, cpu, parts.PYTHON, tool, f"{inside}/{weights.name}", f"{inside}/picture.npy")
    assert done.returncode == 0, done.stderr
    there = json.loads(done.stdout)
    assert there["network"].startswith("ai-edge-litert ")
    assert len(here["rows"]) >= 2
    assert np.allclose(there["rows"], here["rows"], rtol=0, atol=0.01)


def test_without_sys_it_shows_that_xnnpack_is_not_there(installed: Path) -> None:
    """The negative control of the line that the test before looks for."""
    done = foreign.run(installed, "cortex-a72", parts.PYTHON, SCORES, MODEL, parts.CROP, sys=False)
    assert XNNPACK not in done.stderr
