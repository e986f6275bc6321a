"""The small task that every training test learns."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import write_stripes


@pytest.fixture(scope="session")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An .npz of striped pictures; see tests/tiny.py."""
    return write_stripes(tmp_path_factory.mktemp("data") / "stripes.npz")
