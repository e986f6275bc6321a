"""edge-doctor and the machine: heat, clock, disk, service and permissions, each in a small tree as a board would have it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import ManualClock

from edge.config import DeliverySettings, ServiceSettings, Settings, UpdateSettings
from edge.doctor import clock, disk, heat, permissions, service
from edge.doctor.disk import Space
from edge.doctor.finding import Finding
from edge.doctor.person import Person, myself, runner

NOW = 1_795_000_000.0  # in November 2026
NOBODY = Person("nobody", 65534, frozenset({65534}), me=False)
DEFAULTS = Settings()
Told = dict[str, Finding]


def by_name(findings: object) -> Told:
    return {finding.name: finding for finding in findings}  # type: ignore[attr-defined]


def lay(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def program(folder: Path, name: str, script: str) -> None:
    """A program of the system, as this test's PATH finds it."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first in PATH; without any program of this machine that a check would ask."""
    folder = tmp_path / "bin"
    for name in ("vcgencmd", "timedatectl", "systemctl"):
        program(folder, name, "exit 1")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


PI = "sys/devices/platform/soc/soc:firmware/get_throttled"
ZONE = "sys/class/thermal/thermal_zone0/temp"


@pytest.mark.parametrize(
    ("files", "temperature", "throttling", "told"),
    [
        ({}, "skipped", "skipped", "does not tell"),
        ({ZONE: "45200\n", PI: "0\n"}, "good", "good", "full speed"),
        ({ZONE: "84000\n", PI: "8\n"}, "warning", "warning", "at this moment: soft temperature limit"),
        ({ZONE: "45200\n", PI: "50005\n"}, "good", "broken", "at this moment: under-voltage, slowed down"),
        ({ZONE: "45200\n", PI: "50000\n"}, "good", "warning", "since the start, not now: under-voltage, slowed down"),
        ({ZONE: "45200\n", PI: "20000\n"}, "good", "warning", "since the start, not now: frequency capped"),
        # A Jetson Orin: counters of its over-current monitors.
        ({ZONE: "51000\n", "sys/class/hwmon/hwmon3/oc1_event_cnt": "0\n"}, "good", "good", "full speed"),
        ({"sys/class/hwmon/hwmon3/oc3_event_cnt": "37\n"}, "skipped", "warning", "want of power since its start (oc3 37)"),
    ],
)
def test_heat_and_power(
    tmp_path: Path, programs: Path, files: dict[str, str], temperature: str, throttling: str, told: str
) -> None:
    found = by_name(heat.check(DEFAULTS, lay(tmp_path / "root", files)))
    assert (found["heat.temperature"].verdict, found["heat.throttling"].verdict) == (temperature, throttling)
    assert told in found["heat.throttling"].text


def test_where_the_kernel_has_no_file_vcgencmd_is_asked(tmp_path: Path, programs: Path) -> None:
    program(programs, "vcgencmd", "[ $1 = get_throttled ] && echo throttled=0x50000")
    found = by_name(heat.check(DEFAULTS, tmp_path))
    assert found["heat.throttling"].verdict == "warning"
    assert "power supply" in (found["heat.throttling"].remedy or "")


OLD_STATUS = "      Local time: Sat 2026-11-21\n Network time on: yes\nNTP synchronized: no\n"


@pytest.mark.parametrize(
    ("wall", "files", "timedatectl", "verdicts"),
    [
        (NOW, {"run/systemd/timesync/synchronized": "", "sys/class/rtc/rtc0/date": ""}, "exit 1", ["good", "good", "good"]),
        (NOW, {}, "echo yes", ["good", "good", "good"]),
        (NOW, {}, "echo no", ["good", "warning", "warning"]),
        (NOW, {"sys/class/rtc/rtc0/date": ""}, "echo no", ["good", "warning", "good"]),
        # JetPack 4's systemd has no `show`.
        (NOW, {}, f"[ $1 = status ] && printf '{OLD_STATUS}'", ["good", "warning", "warning"]),
        (NOW, {}, "exit 1", ["good", "skipped", "warning"]),
        (3600.0, {}, "echo no", ["broken", "warning", "warning"]),
        (NOW + 3e9, {}, "echo yes", ["broken", "good", "good"]),
    ],
)
def test_clock(tmp_path: Path, programs: Path, wall: float, files: dict[str, str], timedatectl: str, verdicts: list[str]) -> None:
    program(programs, "timedatectl", timedatectl)
    found = list(clock.check(DEFAULTS, lay(tmp_path / "root", files), ManualClock(wall=wall)))
    assert [finding.name for finding in found] == ["clock.time", "clock.network", "clock.battery"]
    assert [finding.verdict for finding in found] == verdicts


MB = 1024 * 1024


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (Space(500 * MB, 90_000, False), {"disk.writable": "good", "disk.space": "good"}),
        (Space(500 * MB, None, False), {"disk.writable": "good", "disk.space": "good"}),
        (Space(50 * MB, 90_000, False), {"disk.writable": "good", "disk.space": "warning"}),
        (Space(5 * MB, 90_000, False), {"disk.writable": "good", "disk.space": "broken"}),
        (Space(500 * MB, 12, False), {"disk.writable": "good", "disk.space": "good", "disk.files": "warning"}),
        (Space(500 * MB, 90_000, True), {"disk.writable": "broken"}),
    ],
)
def test_disk_is_held_against_the_bound_of_the_outbox(space: Space, expected: dict[str, str]) -> None:
    found = by_name(disk.judge(Path("/state"), space, 96 * MB))
    assert {name: finding.verdict for name, finding in found.items()} == expected


def test_disk_asks_the_file_system_of_the_state_folder_before_and_after_it_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    given = Settings(service=ServiceSettings(state_dir=str(folder)), delivery=DeliverySettings(max_bytes=4096))
    assert by_name(disk.check(given))["disk.space"].verdict == "good"
    assert not folder.exists()
    # More than any card holds.
    greedy = Settings(service=given.service, delivery=DeliverySettings(max_bytes=2**60))
    assert by_name(disk.check(greedy))["disk.space"].verdict == "warning"
    lay(folder, {"outbox.db": "x", "outbox.db.damaged-20261121T000000-1": "x", "outbox.db.damaged-20261121T000000-1-wal": "x"})
    assert by_name(disk.check(given))["disk.damaged"].text.startswith("1 damaged")


SHOWN = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "NRestarts": "0",
    "Result": "success",
    "ExecMainStatus": "0",
    "UnitFileState": "enabled",
    "MainPID": "812",
}


@pytest.mark.parametrize(
    ("changes", "expected", "told"),
    [
        ({}, {"service.state": "good"}, "pid 812"),
        ({"LoadState": "not-found", "ActiveState": "inactive"}, {"service.state": "skipped"}, "not installed"),
        ({"ActiveState": "inactive", "SubState": "dead"}, {"service.state": "warning"}, "stopped"),
        ({"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "2"}, {"service.state": "broken"}, "settings"),
        ({"ActiveState": "failed", "Result": "watchdog", "ExecMainStatus": "6"}, {"service.state": "broken"}, "watchdog"),
        ({"ActiveState": "activating", "SubState": "auto-restart", "ExecMainStatus": "4"}, {"service.state": "broken"}, "again"),
        ({"ActiveState": "activating", "SubState": "start"}, {"service.state": "warning"}, "activating"),
        ({"NRestarts": "40"}, {"service.state": "good", "service.restarts": "warning"}, "pid"),
        ({"UnitFileState": "disabled"}, {"service.state": "good", "service.boot": "warning"}, "pid"),
    ],
)
def test_service_as_systemctl_shows_it(
    tmp_path: Path, programs: Path, changes: dict[str, str], expected: dict[str, str], told: str
) -> None:
    lines = "\\n".join(f"{key}={value}" for key, value in (SHOWN | changes).items())
    program(programs, "systemctl", f"[ $1 = show ] && [ $2 = emotion-edge ] && printf '{lines}\\n'")
    root = lay(tmp_path / "root", {"run/systemd/system/x": ""})
    found = by_name(service.check(DEFAULTS, root))
    assert {name: finding.verdict for name, finding in found.items()} == expected
    assert told in found["service.state"].text


def test_without_systemd_nothing_is_said_of_the_service(tmp_path: Path, programs: Path) -> None:
    assert [finding.verdict for finding in service.check(DEFAULTS, tmp_path)] == ["skipped"]
    lay(tmp_path, {"run/systemd/system/x": ""})
    assert [finding.verdict for finding in service.check(DEFAULTS, tmp_path)] == ["broken"]


@pytest.mark.parametrize(
    ("mode", "who", "verdict"),
    [
        (0o600, "me", "good"),
        (0o640, "me", "good"),
        (0o644, "me", "warning"),
        (0o600, "nobody", "broken"),
        (0o604, "nobody", "warning"),
    ],
)
def test_a_secret_is_read_by_edge_run_and_by_nobody_else(public: Path, mode: int, who: str, verdict: str) -> None:
    file = public / "secret"
    file.write_text("hush")
    file.chmod(mode)
    found = permissions.file(myself() if who == "me" else NOBODY, "mqtt-password_file", file, secret=True)
    assert found.verdict == verdict
    assert "hush" not in str(found)


def test_a_secret_that_is_not_there_is_broken(tmp_path: Path) -> None:
    found = permissions.file(myself(), "mqtt-password_file", tmp_path / "none", secret=True)
    assert found.verdict == "broken"
    assert "mqtt.password_file" in (found.remedy or "")


def test_the_key_of_updates_must_be_readable_and_may_be_read_by_everyone(public: Path) -> None:
    key = public / "owner.pub"
    settings = Settings(service=ServiceSettings(state_dir=str(public)), update=UpdateSettings(str(key)))

    def found() -> Finding:
        return by_name(permissions.check(settings, public))["permissions.update-key_file"]

    assert found().verdict == "broken"
    assert "update.key_file" in (found().remedy or "")
    key.touch(0o644)
    assert found().verdict == "good"
    key.chmod(0o600)
    assert permissions.file(NOBODY, "update-key_file", key, secret=False).verdict == "broken"


def test_the_state_folder_belongs_to_edge_run_alone(public: Path) -> None:
    folder, me = public / "state", myself()

    def verdict(person: Person) -> str:
        return by_name(permissions.state(person, folder))["permissions.state"].verdict

    assert (verdict(me), verdict(NOBODY)) == ("good", "broken")
    folder.mkdir(mode=0o700)
    assert (verdict(me), verdict(NOBODY)) == ("good", "broken")
    folder.chmod(0o755)
    assert (verdict(me), verdict(NOBODY)) == ("warning", "broken")
    folder.rmdir()
    folder.write_text("")
    assert verdict(me) == "broken"


@pytest.mark.parametrize(
    ("person", "wanted", "verdict"),
    [
        (Person("root", 0, frozenset({0}), me=True), (), "warning"),
        (NOBODY, ("video",), "warning"),
        (NOBODY, (), "good"),
        (NOBODY, ("no-such-group",), "good"),
    ],
)
def test_as_whom_edge_run_runs(person: Person, wanted: tuple[str, ...], verdict: str) -> None:
    found = list(permissions.groups(person, wanted))
    assert [finding.verdict for finding in found] == [verdict]
    assert ("usermod -aG video nobody" in (found[0].remedy or "")) == (wanted == ("video",))


def test_an_installed_service_is_judged_as_its_own_user(tmp_path: Path) -> None:
    assert runner(tmp_path) == myself()
    unit = "[Service]\nUser=nobody\nSupplementaryGroups=video render\n"
    found = runner(lay(tmp_path, {"etc/systemd/system/emotion-edge.service": unit}))
    assert (found.name, found.me) == ("nobody", False)
    assert "video" in found.groups


CHECK = """
import os, sys
from pathlib import Path
from edge.config import MqttSettings, ServiceSettings, Settings
from edge.doctor.permissions import check
# Root may look everywhere.
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
settings = Settings(
    mqtt=MqttSettings(username="cam", password_file=sys.argv[1] + "/password"), service=ServiceSettings(state_dir=sys.argv[1])
)
for finding in check(settings, Path(sys.argv[1])):
    print(finding.name, finding.verdict)
"""


def test_what_may_not_be_looked_at_is_skipped_with_a_word_about_sudo(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    done = subprocess.run([sys.executable, "-c", CHECK, closed / "inner"], capture_output=True, text=True, check=False)
    closed.chmod(0o700)
    assert done.stdout.splitlines()[1:] == ["permissions.state skipped", "permissions.mqtt-password_file skipped"], done.stderr
