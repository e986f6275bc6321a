"""A folder that other users may look into; pytest's own are closed to them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def public() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="doctor-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
