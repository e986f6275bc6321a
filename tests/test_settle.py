"""The collector after the start: a long-lived program must not wait hours for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import gc
from edge.cli.run import settle

class Circle:
    def __init__(self):
        self.self = self

old = [[] for _ in range(150_000)]
{settle}
before = gc.get_stats()[2]["collections"]
for _ in range(600_000):
    Circle()
print(gc.get_stats()[2]["collections"] - before)
"""


@pytest.mark.parametrize("settled", [True, False])
def test_everything_is_looked_at_often(settled: bool) -> None:
    """Without it, the negative control, not once."""
    program = PROGRAM.format(settle="settle()" if settled else "gc.collect()")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (int(done.stdout) > 1) == settled
