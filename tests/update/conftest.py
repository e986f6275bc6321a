"""Whoever may push models to the devices of these tests."""

from __future__ import annotations

import pytest
from model_packages import Owner


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Owner:
    """Makes a pair of keys, once a file."""
    return Owner(tmp_path_factory.mktemp("keys"))
