"""What kind of source `camera.source` names."""

from __future__ import annotations

from pathlib import Path

from edge.camera import DEMO, is_device, is_ribbon, is_stream


def is_camera(source: str) -> bool:
    """Whether it is a device of this machine, which edge-run alone can use."""
    return is_device(source) or is_ribbon(source)


def is_file(source: str) -> bool:
    """Whether it is a file, a folder, or the demo."""
    return source == DEMO or not (is_camera(source) or is_stream(source) or "://" in source)


def device_path(source: str, root: Path = Path("/")) -> Path:
    """`0` -> /dev/video0; a path as it is."""
    return root / (f"dev/video{source}" if source.isdecimal() else source.lstrip("/"))
