"""edge-doctor: what keeps edge-run from working here, and what to do about it.

finding      one line: name, verdict, text, remedy
examine      run the checks, each with a bound (child: in a process of its own)
wheels       Python, packages, their glibc (elf: read from the files themselves)
permissions  user, groups, state folder, files with secrets (person)
camera       device, formats (v4l2: by its ioctls), who holds it (processes), a frame
model        sha256, golden scores, face detector
broker       name, port, TLS; then login, rights, round trip (dialogue)
clock, disk, heat, service

A check is `check(settings, root) -> Iterator[Finding]`. It changes nothing and may run beside edge-run.
"""

from __future__ import annotations

from edge.doctor.examine import NAMES, examine
from edge.doctor.finding import Finding, Verdict

__all__ = ["NAMES", "Finding", "Verdict", "examine"]
