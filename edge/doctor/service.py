"""How the service stands, as systemd sees it."""

from __future__ import annotations

from pathlib import Path

from edge.config import Settings
from edge.doctor.command import ask
from edge.doctor.finding import Findings, broken, good, skipped, warning

NAME = "emotion-edge"
PROPERTIES = "LoadState,ActiveState,SubState,NRestarts,Result,ExecMainStatus,UnitFileState,MainPID"
RUNNING = "run/systemd/system"
# A few restarts in a long life are what Restart= is for.
MANY_RESTARTS = 5
LOG = f"journalctl -u {NAME} -n 30"


def check(_settings: Settings, root: Path = Path("/")) -> Findings:
    """Whether the service is installed, up, begun at boot, and not restarted all the time."""
    # sd_booted(3): this folder is there if and only if systemd manages the machine.
    if not (root / RUNNING).is_dir():
        yield skipped("service.state", "this machine is not managed by systemd; edge-run is started in some other way")
        return
    told = ask("systemctl", "show", NAME, "-p", PROPERTIES)
    if told is None:
        yield broken("service.state", "systemctl does not answer", "look at the machine: systemctl status")
        return
    yield from judge(dict(line.split("=", 1) for line in told.splitlines() if "=" in line))


def judge(unit: dict[str, str]) -> Findings:
    """Put what `systemctl show` has told into words."""
    state, status = unit.get("ActiveState", "unknown"), unit.get("ExecMainStatus", "0")
    if unit.get("LoadState") != "loaded":
        yield skipped("service.state", "the service is not installed", "sudo systemd/install.sh installs it")
        return
    restarts = int(unit.get("NRestarts") or 0)
    if state == "active":
        yield good("service.state", f"running (pid {unit.get('MainPID', '?')})")
    elif state == "failed" and status == "2":
        # RestartPreventExitStatus=2: it is not tried again.
        remedy = f"{LOG} names the mistake; correct it, then sudo systemctl restart {NAME}"
        yield broken("service.state", "given up: its settings or files cannot be used", remedy)
    elif state == "failed":
        text = f"failed ({unit.get('Result', 'unknown')}, exit status {status})"
        yield broken("service.state", text, f"{LOG}, then sudo systemctl restart {NAME}")
    elif unit.get("SubState") == "auto-restart":
        yield broken("service.state", f"it ended with {status} and is started again and again", LOG)
    elif state == "inactive":
        yield warning("service.state", "stopped", f"sudo systemctl start {NAME}")
    else:
        yield warning("service.state", f"{state} ({unit.get('SubState', 'unknown')})", f"look again in a minute, then {LOG}")
    if restarts > MANY_RESTARTS:
        yield warning("service.restarts", f"started again {restarts} times by systemd", LOG)
    if unit.get("UnitFileState") == "disabled":
        yield warning("service.boot", "not started when the machine starts", f"sudo systemctl enable {NAME}")
