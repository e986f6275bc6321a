"""What the board says of itself: heat, throttling, memory. Files of the kernel alone, so nothing is started for it."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path("/")
# raspberrypi-firmware's own answer to "get_throttled": bits 0 to 3 are under-voltage, frequency capped, throttled and soft
# temperature limit at this moment (Raspberry Pi documentation, vcgencmd).
PI_THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
PI_NOW = 0xF
# Linux shows what slows a processor down as a cooling device: cpufreq-cpu0, devfreq-17000000.gpu, CPU-throttle-alert (Jetson).
COOLING, THROTTLES = "sys/class/thermal", ("cpufreq", "devfreq", "throttle")
# Degrees Celsius. A Raspberry Pi slows down at 80 and a Jetson above 90; not every board says that it does.
HOT = 85.0


def temperature(root: Path = ROOT) -> float | None:
    """The hottest thermal zone in degrees Celsius; None where the kernel shows none."""
    found = []
    for file in root.glob("sys/class/thermal/thermal_zone*/temp"):
        # The zone of a Jetson's PMIC is a placeholder: always 100 degrees (balena-os/balena-jetson, issue 142).
        if "pmic" not in _text(file.with_name("type")) and (value := _number(file)) is not None:
            found.append(value / 1000)
    return max(found, default=None)


def throttled(root: Path = ROOT) -> bool | None:
    """Whether the board slows itself down at this moment; None where it does not say."""
    told = _number(root / PI_THROTTLED, base=16)
    if told is not None:
        return bool(told & PI_NOW)
    states = []
    for device in (root / COOLING).glob("cooling_device*"):
        # Fans and the backlight are cooling devices too; only what makes a processor slower is throttling.
        if any(word in _text(device / "type") for word in THROTTLES) and (state := _number(device / "cur_state")) is not None:
            states.append(state > 0)
    return any(states) if states else None


def too_hot() -> str | None:
    """Whether the board suffers from heat or want of power, in one sentence; None when it does not."""
    degrees = temperature()
    if throttled():
        return (
            f"the board slows itself down{f' at {degrees:.0f} °C' if degrees is not None else ''}; cool it or give it more power"
        )
    if degrees is not None and degrees >= HOT:
        return f"the board has {degrees:.0f} °C; cool it"
    return None


def resident() -> int:
    """Resident memory of this process in bytes (proc(5), statm)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _text(file: Path) -> str:
    try:
        return file.read_text().strip().lower()
    except (OSError, ValueError):
        # A zone that is switched off cannot be read; the others can.
        return ""


def _number(file: Path, base: int = 10) -> int | None:
    try:
        return int(_text(file), base)
    except ValueError:
        return None
