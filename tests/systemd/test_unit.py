"""The units are well-formed and tight, by systemd's own tools, on every platform and systemd that a bundle is for."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from installing import ROOT, SYSTEMD

from converters.deploy.units import DEFAULTS, ENGINE, SERVICE, render

PLATFORMS = [("pi", 252), ("pi", 257), ("jetson", 249), ("jetson", 255), ("jetson", 237)]
# In tenths. systemd 237 lacks a third of the keys, and is measured by the standards of a newer one.
LIMITS = {("pi", 252): 20, ("pi", 257): 20, ("jetson", 249): 25, ("jetson", 255): 25, ("jetson", 237): 27}


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("place", DEFAULTS)
def test_the_committed_units_are_the_rendered_ones(place: str) -> None:
    # After a change: converters.deploy.units.write_defaults(Path("systemd"))
    committed = {path.name: path.read_text() for path in (SYSTEMD / place).glob("*.service")}
    assert committed == render(*DEFAULTS[place])


@pytest.mark.parametrize(("platform", "systemd"), PLATFORMS)
def test_the_units_are_well_formed(tmp_path: Path, platform, systemd) -> None:
    def verify() -> str:
        return analyze("verify", "--man=no", "--recursive-errors=no", *sorted(tmp_path.glob("*.service"))).stderr

    # verify looks for the programs on this machine, so the units under test name ones that are here.
    here = f"{Path(sys.executable).parent}/"
    for name, text in render(platform, systemd).items():
        (tmp_path / name).write_text(text.replace("/opt/emotion-edge/current/venv/bin/", here))
    assert verify() == ""
    with (tmp_path / SERVICE).open("a") as unit:
        unit.write("\n[Service]\nWatchdogSecs=3\n")
    assert "WatchdogSecs" in verify()


@pytest.mark.parametrize(("platform", "systemd"), PLATFORMS)
def test_exposure_is_within_its_limit(tmp_path: Path, platform, systemd) -> None:
    limit = LIMITS[platform, systemd]
    for name, text in render(platform, systemd).items():
        (tmp_path / name).write_text(text)
        assert analyze("security", "--offline=true", f"--threshold={limit}", tmp_path / name).returncode == 0
        open_ = "\n".join(line for line in text.splitlines() if not line.startswith(("SystemCallFilter", "Capability")))
        (tmp_path / name).write_text(open_)
        assert analyze("security", "--offline=true", f"--threshold={limit}", tmp_path / name).returncode != 0


@pytest.mark.parametrize(("platform", "systemd"), PLATFORMS)
def test_nothing_is_shut_that_cameras_and_runtimes_need(platform, systemd) -> None:
    for text in render(platform, systemd).values():
        lines = text.splitlines()
        assert {"DeviceAllow=char-video4linux rw", "DeviceAllow=char-media rw", "SupplementaryGroups=video render"} <= {*lines}
        assert not {"PrivateDevices=yes", "PrivateNetwork=yes", "ProcSubset=pid", "DynamicUser=yes"} & {*lines}
        assert "@resources" not in "".join(line for line in lines if not line.startswith("#"))
        assert re.search("^RestrictAddressFamilies=.*AF_NETLINK", text, re.MULTILINE), "udev and the resolver use it"
        if platform == "jetson":
            assert not {"PrivateTmp=yes", "MemoryDenyWriteExecute=yes"} & {*lines}
        else:
            assert "DeviceAllow=char-dma_heap rw" in lines, "libcamera's buffers"


@pytest.mark.parametrize(
    ("systemd", "unknown"),
    # NEWS of systemd: the version in which each came.
    [
        (237, "@system-service ProtectHostname RestrictSUIDSGID ProtectKernelLogs ProtectClock ProtectProc PrivateMounts"),
        (249, ""),
    ],
)
def test_an_old_systemd_gets_no_key_that_it_does_not_know(systemd: int, unknown: str) -> None:
    units = "".join(render("jetson", systemd).values())
    assert [key for key in unknown.split() if key in units] == []
    assert all(key in "".join(render("jetson", 249).values()) for key in unknown.split())


def test_an_unknown_board_is_refused() -> None:
    for platform, systemd in (("amiga", 252), ("jetson", 219)):
        with pytest.raises(ValueError, match="no units for"):
            render(platform, systemd)  # type: ignore[arg-type]


def test_the_service_never_gives_up_but_for_a_bad_configuration() -> None:
    for platform, systemd in PLATFORMS:
        lines = render(platform, systemd)[SERVICE].splitlines()
        for line in (
            "Type=notify",
            "Restart=on-failure",
            "StartLimitIntervalSec=0",
            "RestartPreventExitStatus=2",
            "StateDirectoryMode=0700",
            "WatchdogSec=30",
        ):
            assert line in lines


def test_the_engine_comes_before_the_service_and_never_keeps_it_from_starting() -> None:
    units = render("jetson", 249)
    assert f"Wants={ENGINE}" in units[SERVICE]
    assert ENGINE in re.findall("^After=(.*)$", units[SERVICE], re.MULTILINE)[-1]
    assert "Requires=" not in units[SERVICE]
    assert "TimeoutStartSec=infinity" in units[ENGINE]


def test_an_installed_board_is_watched_longer_than_its_watchdog_needs() -> None:
    # 35 of the 60 s that install.sh takes: a program that hangs at once is killed within them.
    (script,) = re.findall(r"^  steady=\$\(\(\((.*)\)\)$", (SYSTEMD / "install.sh").read_text(), re.MULTILINE)
    assert script == "patience * 7 + 11) / 12"
    (watchdog,) = re.findall("^WatchdogSec=(.*)$", (ROOT / "systemd" / SERVICE).read_text(), re.MULTILINE)
    assert int(watchdog) < (60 * 7 + 11) // 12
