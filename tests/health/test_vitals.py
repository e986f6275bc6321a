"""What a board says of itself, laid down as the kernel would."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge.health.vitals import resident, temperature, throttled


def lay_down(root: Path, **files: str) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


ZONES = "sys/class/thermal/thermal_zone"
COOLING = "sys/class/thermal/cooling_device"


def test_the_hottest_zone_counts_and_one_that_is_off_does_not_hide_it(tmp_path: Path) -> None:
    assert temperature(tmp_path) is None
    lay_down(tmp_path, **{f"{ZONES}0/temp": "41850\n", f"{ZONES}1/temp": "63200\n", f"{ZONES}2/temp": ""})
    assert temperature(tmp_path) == 63.2


def test_the_placeholder_of_a_jetson_is_no_heat(tmp_path: Path) -> None:
    lay_down(tmp_path, **{f"{ZONES}0/temp": "48000", f"{ZONES}0/type": "CPU-therm"})
    lay_down(tmp_path, **{f"{ZONES}1/temp": "100000", f"{ZONES}1/type": "PMIC-Die"})
    assert temperature(tmp_path) == 48.0


@pytest.mark.parametrize(("told", "expected"), [("0", False), ("50005", True), ("50000", False), ("4", True), ("nonsense", None)])
def test_a_pi_is_throttled_by_its_present_bits_alone(tmp_path: Path, told: str, expected: bool | None) -> None:
    lay_down(tmp_path, **{"sys/devices/platform/soc/soc:firmware/get_throttled": told})
    assert throttled(tmp_path) is expected


def test_a_fan_that_turns_is_no_throttling(tmp_path: Path) -> None:
    assert throttled(tmp_path) is None
    lay_down(tmp_path, **{f"{COOLING}0/type": "pwm-fan", f"{COOLING}0/cur_state": "3"})
    assert throttled(tmp_path) is None
    lay_down(tmp_path, **{f"{COOLING}2/type": "LCD", f"{COOLING}2/cur_state": "7"})
    assert throttled(tmp_path) is None
    lay_down(tmp_path, **{f"{COOLING}1/type": "cpufreq-cpu0", f"{COOLING}1/cur_state": "0"})
    assert throttled(tmp_path) is False
    lay_down(tmp_path, **{f"{COOLING}1/cur_state": "2"})
    assert throttled(tmp_path) is True


def test_memory_is_that_of_this_process() -> None:
    before, ballast = resident(), b"x" * (32 << 20)
    assert len(ballast) <= resident() - before + (8 << 20)
    assert resident() < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
