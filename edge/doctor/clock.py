"""Whether the clock is right: certificates, and the times in events, rest on it."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from pathlib import Path

from edge.clock import SYSTEM, Clock
from edge.config import Settings
from edge.doctor.command import ask
from edge.doctor.finding import Findings, broken, good, skipped, warning

# This version is from 2026: an earlier clock has lost its time. Certificates end their centuries long before 2100.
EARLIEST, LATEST = (datetime(year, 1, 1, tzinfo=timezone.utc).timestamp() for year in (2026, 2100))
# What systemd-timesyncd leaves behind (systemd-timesyncd.service(8)).
TIMESYNCD = "run/systemd/timesync/synchronized"


def check(_settings: Settings, root: Path = Path("/"), clock: Clock = SYSTEM) -> Findings:
    """Year, synchronisation, and whether a power cut loses the time."""
    now = clock.time()
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if EARLIEST <= now < LATEST:
        yield good("clock.time", shown)
    else:
        remedy = "set it (sudo timedatectl set-ntp true, or sudo date -s …); until then certificates are refused"
        yield broken("clock.time", f"the clock says {shown}, which cannot be", remedy)
    synchronized = (root / TIMESYNCD).exists() or ntp_synchronized()
    battery = any((root / "sys/class/rtc").glob("rtc*"))
    if synchronized:
        yield good("clock.network", "kept right by the network")
    elif synchronized is None:
        yield skipped("clock.network", "this system does not tell whether the network keeps its clock right (no timedatectl)")
    else:
        remedy = "sudo timedatectl set-ntp true, and let the board reach a time server (UDP port 123)"
        yield warning("clock.network", "not kept right by the network", remedy)
    if battery:
        yield good("clock.battery", "a real-time clock keeps the time without power, as long as it has a battery")
    elif synchronized:
        yield good("clock.battery", "no real-time clock: after a power cut the time is wrong until the network sets it")
    else:
        remedy = "add a real-time clock with a battery, or let the network set the time; order events by seq, never by at"
        yield warning("clock.battery", "no real-time clock: a power cut loses the time", remedy)


def ntp_synchronized() -> bool | None:
    """What the kernel says of its clock, by timedatectl; None where that is not to be had."""
    told = ask("timedatectl", "show", "-p", "NTPSynchronized", "--value")
    if told is not None and told.strip() in ("yes", "no"):
        return told.strip() == "yes"
    # systemd before 239 (JetPack 4 has 237) knows no `show`.
    told = ask("timedatectl", "status")
    for line in (told or "").splitlines():
        words, _, value = line.strip().partition(": ")
        if words in ("System clock synchronized", "NTP synchronized") and value in ("yes", "no"):
            return value == "yes"
    return None
