"""Heat and power: a board that is too hot or gets too little slows itself down, or ends its writing half way."""

from __future__ import annotations

from pathlib import Path

from edge.config import Settings
from edge.doctor.command import ask
from edge.doctor.finding import Findings, broken, good, skipped, warning
from edge.health.vitals import PI_THROTTLED, temperature, throttled

# A Raspberry Pi slows down from 80 degrees on and more from 85 on (Raspberry Pi documentation, "Frequency management and
# thermal control"); a Jetson later, by its device tree's trip points.
HOT = 80.0
# Bits of get_throttled (Raspberry Pi documentation, vcgencmd); the same 16 bits higher tell what was since the start.
UNDER_VOLTAGE = 0
BITS = {UNDER_VOLTAGE: "under-voltage", 1: "frequency capped", 2: "slowed down", 3: "soft temperature limit"}
SINCE_START = 16
# Tegra234's soctherm_oc counts these (NVIDIA Jetson Linux developer guide, "Jetson Orin", "VDD_IN under voltage, over current").
JETSON_COUNTERS = "sys/class/hwmon/hwmon*/oc*_event_cnt"
SUPPLY = "use a power supply and cable made for this board"
COOLING = "cool the board: heat sink, fan, air around it; or make it do less (camera.fps, detector.every)"


def check(_settings: Settings, root: Path = Path("/")) -> Findings:
    """Temperature now, and throttling now and since the start."""
    degrees = temperature(root)
    if degrees is None:
        yield skipped("heat.temperature", "this machine shows no temperature")
    elif degrees >= HOT:
        yield warning("heat.temperature", f"{degrees:.0f} °C", COOLING)
    else:
        yield good("heat.temperature", f"{degrees:.0f} °C")
    bits = pi_bits(root)
    slowed, files = throttled(root), sorted(root.glob(JETSON_COUNTERS))
    counters = {file.name.split("_")[0]: number for file in files if (number := _count(file))}
    if bits is not None:
        yield from judge_pi(bits)
    elif counters:
        told = ", ".join(f"{name} {number}" for name, number in counters.items())
        text = f"the board has slowed itself down for want of power since its start ({told})"
        yield warning("heat.throttling", text, f"{SUPPLY}, or choose a smaller power mode (nvpmodel)")
    elif slowed:
        yield warning("heat.throttling", "the board slows itself down at this moment", COOLING)
    elif slowed is None and not files:
        yield skipped("heat.throttling", "this machine does not tell whether it slows itself down")
    else:
        yield good("heat.throttling", "the board runs at full speed")


def pi_bits(root: Path = Path("/")) -> int | None:
    """A Raspberry Pi's get_throttled, by the kernel or by vcgencmd; None elsewhere."""
    try:
        return int((root / PI_THROTTLED).read_text(), 16)
    except (OSError, ValueError):
        told = ask("vcgencmd", "get_throttled")
    _, _, value = (told or "").strip().partition("throttled=")
    try:
        return int(value, 16)
    except ValueError:
        return None


def judge_pi(bits: int) -> Findings:
    """Put the bits into words."""
    now = [word for bit, word in BITS.items() if bits >> bit & 1]
    ever = [word for bit, word in BITS.items() if bits >> bit + SINCE_START & 1]
    weak = BITS[UNDER_VOLTAGE]
    if weak in now:
        text = f"at this moment: {', '.join(now)}; the board may stop or damage its card"
        yield broken("heat.throttling", text, SUPPLY)
    elif now:
        yield warning("heat.throttling", f"at this moment: {', '.join(now)}", COOLING)
    elif ever:
        remedy = SUPPLY if weak in ever else COOLING
        yield warning("heat.throttling", f"since the start, not now: {', '.join(ever)}", remedy)
    else:
        yield good("heat.throttling", "the board runs at full speed, and has since its start")


def _count(file: Path) -> int:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return 0
