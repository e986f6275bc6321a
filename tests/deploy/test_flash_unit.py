"""The unit that installs at the first boot: for every systemd, and in nobody's way."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from deploying import ROOT

from converters.deploy.units import SETUP, render, render_setup


def test_the_committed_unit_is_the_rendered_one() -> None:
    # After a change: converters.deploy.units.write_defaults(Path("systemd"))
    assert {path.name: path.read_text() for path in (ROOT / "systemd/first-boot").iterdir()} == {SETUP: render_setup()}
    assert SETUP not in render("pi", 252), "install.sh does not lay it down"


def test_it_is_well_formed(tmp_path: Path) -> None:
    def verify(text: str) -> str:
        (tmp_path / SETUP).write_text(text.replace("/opt/emotion-edge/bundle/install.sh", "/bin/true"))
        command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", tmp_path / SETUP]
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stderr

    assert verify(render_setup()) == ""
    assert "TimeoutStartSecs" in verify(render_setup().replace("TimeoutStartSec", "TimeoutStartSecs"))


def test_it_runs_until_an_installation_is_there_and_keeps_nothing_waiting() -> None:
    lines = render_setup().splitlines()
    for line in (
        "ConditionPathExists=!/opt/emotion-edge/current",
        "ExecStart=/opt/emotion-edge/bundle/install.sh",
        "Type=oneshot",
        "TimeoutStartSec=infinity",
        "WantedBy=multi-user.target",
    ):
        assert line in lines
    # The installer starts the service and waits for it: whatever has to come before the service must not wait for the installer.
    assert not [line for line in lines if re.match("Before=|Requires=", line)]
    installer = (ROOT / "systemd/install.sh").read_text()
    assert SETUP in installer, "--uninstall takes it away"
