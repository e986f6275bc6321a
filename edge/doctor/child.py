"""The process in which one topic is looked at: a task comes in on standard input, findings go out line by line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from edge.doctor.examine import Task, guarded, load


def main() -> int:
    """Take a task, make its check, tell what was found."""
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    # What a library prints goes nowhere: standard output belongs to the findings.
    with os.fdopen(os.dup(1), "wb", buffering=0) as out:
        os.dup2(2, 1)
        for finding in guarded(task.topic, load(task.topic), task.settings, Path(task.root)):
            out.write(msgspec.json.encode(finding) + b"\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
