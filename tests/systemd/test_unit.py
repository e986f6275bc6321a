"""The unit is well-formed and tight, by systemd's own tools; the installer does what it says in a folder of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SYSTEMD = ROOT / "systemd"
UNIT = SYSTEMD / "emotion-edge.service"
INSTALL = SYSTEMD / "install.sh"


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, timeout=60)


def test_the_unit_is_well_formed(tmp_path: Path) -> None:
    # verify looks for the program on this machine, so the unit under test names one that is here.
    here = str(Path(sys.executable).parent / "edge-run")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/emotion-edge/venv/bin/edge-run", here))
    done = analyze("verify", "--man=no", "--recursive-errors=no", unit)
    assert (done.returncode, done.stderr) == (0, "")
    unit.write_text(unit.read_text() + "\n[Service]\nWatchdogSecs=3\n")
    assert "WatchdogSecs" in analyze("verify", "--man=no", "--recursive-errors=no", unit).stderr


def test_exposure_is_at_most_two() -> None:
    assert analyze("security", "--offline=true", "--threshold=20", UNIT).returncode == 0
    assert analyze("security", "--offline=true", "--threshold=10", UNIT).returncode != 0


def test_the_service_never_gives_up_but_for_a_bad_configuration() -> None:
    lines = UNIT.read_text().splitlines()
    for line in (
        "Type=notify",
        "Restart=on-failure",
        "StartLimitIntervalSec=0",
        "RestartPreventExitStatus=2",
        "StateDirectoryMode=0700",
    ):
        assert line in lines


def install(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", str(INSTALL), *map(str, arguments)], capture_output=True, text=True, timeout=300)


def test_dry_run_shows_the_steps_and_takes_none(tmp_path: Path) -> None:
    done = install("--dry-run", "--root", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "venv" in done.stdout
    assert "config.toml" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--frm", "x"], ["--from"], ["--from", "/nowhere.whl"], ["--wheels", "/nowhere"]])
def test_a_mistake_is_one_line(tmp_path: Path, arguments: list[str]) -> None:
    done = install("--root", tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("install.sh: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_install_again_uninstall_and_purge(tmp_path: Path) -> None:
    assert install("--root", tmp_path).returncode == 0
    program, config = tmp_path / "opt/emotion-edge/venv/bin/edge-run", tmp_path / "etc/emotion-edge/config.toml"
    help_ = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert help_.returncode == 0, help_.stderr
    packages = {path.name for path in (tmp_path / "opt/emotion-edge/venv/lib").glob("python*/site-packages/*")}
    assert {"edge", "cv2", "numpy"} <= packages
    assert not packages & {"tensorflow", "keras"}
    assert (tmp_path / "etc/systemd/system/emotion-edge.service").read_text() == UNIT.read_text()

    config.write_text('[mqtt]\nhost = "mine"\n')
    assert install("--root", tmp_path).returncode == 0
    assert "mine" in config.read_text(), "an upgrade must not touch its owner's settings"

    assert install("--uninstall", "--root", tmp_path).returncode == 0
    assert not program.exists()
    assert config.exists()
    assert install("--purge", "--root", tmp_path).returncode == 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
