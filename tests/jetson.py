"""A machine with TensorRT: a folder of packages named tensorrt and pycuda for the worker's Python, made of the fakes."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.config import TensorRtSettings

TESTS = Path(__file__).resolve().parent
SHIMS = {
    "tensorrt.py": "import os, fake_tensorrt\nfake_tensorrt.become(globals(), os.environ['FAKE_TENSORRT'])\n",
    "pycuda/__init__.py": "",
    "pycuda/driver.py": "from fake_pycuda import *\n",
}
NANO = {"name": "NVIDIA Tegra X1", "compute_capability": [5, 3], "fast_int8": False}


class Jetson:
    """One board: `settings` open models on it, `folder` is its engine cache."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._monkeypatch, self._trouble = folder / "engines", monkeypatch, folder / "trouble"
        packages = folder / "packages"
        for name, content in SHIMS.items():
            (packages / name).parent.mkdir(parents=True, exist_ok=True)
            (packages / name).write_text(content)
        self._trouble.mkdir()
        monkeypatch.setenv("PYTHONPATH", f"{packages}{os.pathsep}{TESTS}")
        monkeypatch.setenv("FAKE_TROUBLE", str(self._trouble))
        self.become("10")

    def become(self, generation: str, **gpu: Any) -> None:
        """Another TensorRT, another GPU."""
        self._monkeypatch.setenv("FAKE_TENSORRT", generation)
        self._monkeypatch.setenv("FAKE_GPU", json.dumps(gpu))

    def trouble(self, what: str, times: int = 1) -> None:
        """Such as `hang-run`, for the next so many runs."""
        (self._trouble / what).write_text(str(times))

    def settings(self, **changes: Any) -> TensorRtSettings:
        return TensorRtSettings(**{"python": sys.executable, "cache": str(self.folder), "timeout": 20.0, **changes})


def alive(pid: int) -> bool:
    """Whether a process is there, and be it as a zombie."""
    return Path(f"/proc/{pid}").exists()


def eventually(condition: Callable[[], bool], seconds: float = 20) -> bool:
    """Wait for what happens in another process."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()
