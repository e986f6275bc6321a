"""Small real implementations of our own protocols, for tests."""

from __future__ import annotations
