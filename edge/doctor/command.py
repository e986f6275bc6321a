"""Ask a program of the system; whoever is missing, fails or hangs has no answer."""

from __future__ import annotations

import os
import subprocess

# They answer in milliseconds; a service manager that hangs is not waited for, seconds.
PATIENCE = 10.0


def ask(*command: str) -> str | None:
    """What a program prints; None where it is not installed, ends with an error, or does not end."""
    # Other languages have other words.
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(  # noqa: S603  our own words
            command, capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
