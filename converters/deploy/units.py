"""The systemd units, rendered from one source for a platform and the systemd that it has.

The rendered defaults are committed below systemd/; `write_defaults` writes them again after a change here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple, get_args

Platform = Literal["pi", "jetson"]

SERVICE, ENGINE = "emotion-edge.service", "emotion-edge-engine.service"
# Of a board that edge-flash has prepared; not among those that install.sh lays down. Committed in this folder.
SETUP, SETUP_FOLDER = "emotion-edge-setup.service", "first-boot"

# What is committed, by its folder: Raspberry Pi OS bookworm, JetPack 6 (Ubuntu 22.04), JetPack 4 (Ubuntu 18.04).
DEFAULTS: dict[str, tuple[Platform, int]] = {".": ("pi", 252), "jetson": ("jetson", 249), "jetson-nano": ("jetson", 237)}
OLDEST = 237


class Block(NamedTuple):
    """Some lines of a unit.

    Attributes:
        lines: as they are written, comments with the lines that they are about.
        since: the first systemd that knows every key and value in them (its NEWS file). until: the first one that gets others.
        only: the platform that they are for; both, if None.
    """

    lines: str
    since: int = 0
    until: int = 1000
    only: Platform | None = None


# What no part of emotion-edge needs, on whatever platform.
_HARDENING = (
    Block("NoNewPrivileges=yes\nProtectSystem=strict\nProtectHome=yes"),
    Block("PrivateTmp=yes", only="pi"),
    Block("# Not PrivateTmp: the socket of NVIDIA's camera daemon is /tmp/argus_socket.", only="jetson"),
    Block("PrivateMounts=yes", since=239, only="jetson"),
    Block("ProtectKernelTunables=yes\nProtectKernelModules=yes"),
    Block("ProtectKernelLogs=yes", since=244),
    Block("ProtectControlGroups=yes"),
    Block("ProtectClock=yes", since=245),
    Block("ProtectHostname=yes", since=242),
    Block("ProtectProc=invisible", since=247),
    Block("RestrictNamespaces=yes\nRestrictRealtime=yes"),
    Block("RestrictSUIDSGID=yes", since=242),
    Block("RemoveIPC=yes\nLockPersonality=yes"),
    Block("MemoryDenyWriteExecute=yes", only="pi"),
    Block("# Not MemoryDenyWriteExecute: CUDA makes machine code at run time.", only="jetson"),
    Block("CapabilityBoundingSet=\nAmbientCapabilities=\nRestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK"),
    Block("SystemCallArchitectures=native"),
    Block("# Not ~@resources: numpy and the TFLite runtime call mbind and are killed."),
    Block("SystemCallFilter=@system-service\nSystemCallFilter=~@privileged", since=239),
    # @system-service came with 239, and a list of what is allowed would leave out every system call that this systemd and its
    # libseccomp have not heard of, but a newer Python uses.
    Block("SystemCallFilter=~@clock @cpu-emulation @debug @module @mount @obsolete @privileged @raw-io @reboot @swap", until=239),
)

_DEVICES = (
    Block("# The camera is the only device. The classes cover V4L2 and what libcamera opens on a Pi.", only="pi"),
    Block(
        "# The camera and the GPU are the only devices. The GPU's nodes differ from board to board: install.sh lists them in\n"
        "# devices.conf of the drop-in folder.",
        only="jetson",
    ),
    Block("DevicePolicy=closed\nDeviceAllow=char-video4linux rw\nDeviceAllow=char-media rw"),
    Block("DeviceAllow=char-dma_heap rw", only="pi"),
    Block(""),
)

_USER = (
    Block("User=emotion-edge\nSupplementaryGroups=video render\nStateDirectory=emotion-edge\nStateDirectoryMode=0700"),
    Block("# Engines; what is in it can be built again.\nCacheDirectory=emotion-edge\nCacheDirectoryMode=0700", only="jetson"),
    Block("UMask=0077"),
)

_SERVICE = (
    Block(
        "[Unit]\n"
        "Description=emotion-edge: faces before the camera become emotion events on MQTT\n"
        "Documentation=file:///opt/emotion-edge/current/README.md\n"
        "# Nothing here is required: a broker or camera that is missing is waited for by the program itself.\n"
        "Wants=network-online.target\n"
        "After=network-online.target mosquitto.service"
    ),
    Block(
        "# An engine takes minutes: built before, not while systemd waits for this one. Without it the processor computes.\n"
        f"Wants={ENGINE}\nAfter={ENGINE} nvargus-daemon.service",
        only="jetson",
    ),
    Block(
        "# A board stands alone: never give up restarting.\n"
        "StartLimitIntervalSec=0\n\n"
        "[Service]\n"
        "Type=notify\n"
        "ExecStart=/opt/emotion-edge/current/venv/bin/edge-run --config /etc/emotion-edge/config.toml\n"
        "# Looks for another model; the present one goes on until it is open.\n"
        "ExecReload=/bin/kill -HUP $MAINPID\n"
        "Restart=on-failure\n"
        "RestartSec=2\n"
        "# A configuration that cannot be used does not get better by trying again.\n"
        "RestartPreventExitStatus=2\n"
        "WatchdogSec=30\n"
        "TimeoutStartSec=60\n"
        "TimeoutStopSec=10\n"
        "# A camera's program is asked to end by edge-run, which knows how; a Jetson's may else keep the camera.\n"
        "KillMode=mixed\n"
    ),
    *_USER,
    Block("Environment=PYTHONUNBUFFERED=1 OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT=2\n"),
    *_DEVICES,
    *_HARDENING,
    Block("\n[Install]\nWantedBy=multi-user.target"),
)

_ENGINE = (
    Block(
        "[Unit]\n"
        "Description=emotion-edge: the TensorRT engine of its model, built where it is missing\n"
        "Documentation=file:///opt/emotion-edge/current/README.md\n"
        "ConditionPathExists=/etc/emotion-edge/config.toml\n\n"
        "[Service]\n"
        "Type=oneshot\n"
        "# Once a boot: emotion-edge must not wait for it when it is started again.\n"
        "RemainAfterExit=yes\n"
        "ExecStart=/opt/emotion-edge/current/venv/bin/edge-engine build --config /etc/emotion-edge/config.toml\n"
        "# edge-engine has a limit of its own, of an hour.\n"
        "TimeoutStartSec=infinity\n"
        "Nice=5\n"
    ),
    *_USER,
    Block("Environment=PYTHONUNBUFFERED=1\n"),
    *_DEVICES,
    *_HARDENING,
)

# Keys that systemd 237 knows, so that there is one for every board.
_SETUP = """[Unit]
Description=emotion-edge: its installation at the first boot
Documentation=file:///opt/emotion-edge/bundle/README.md
# What is there last says that it is done; until then every boot goes on with it.
ConditionPathExists=!/opt/emotion-edge/current
ConditionPathExists=/opt/emotion-edge/bundle/install.sh
# Not Before=emotion-edge.service: the installer itself starts it, and would wait for ever.

[Service]
Type=oneshot
ExecStart=/opt/emotion-edge/bundle/install.sh
# A slow card and many wheels: nobody knows how long.
TimeoutStartSec=infinity

[Install]
WantedBy=multi-user.target
"""


def render(platform: Platform, systemd: int) -> dict[str, str]:
    """The units for one kind of board.

    Args:
        platform: `pi` is also any other board without NVIDIA's GPU.
        systemd: the major version of the systemd there; a newer one takes what an older one gets.

    Returns:
        Each unit's text by its file name.

    Raises:
        ValueError: a systemd older than every board's.
    """
    if platform not in get_args(Platform) or systemd < OLDEST:
        raise ValueError(f"no units for {platform} with systemd {systemd}; known are {get_args(Platform)}, {OLDEST} and later")
    units = {SERVICE: _SERVICE} | ({ENGINE: _ENGINE} if platform == "jetson" else {})
    return {name: _text(blocks, platform, systemd) for name, blocks in units.items()}


def render_setup() -> str:
    """The unit that installs at a board's first boot what edge-flash has laid down: the same for every board."""
    return _SETUP


def write_defaults(folder: Path) -> None:
    """Write the committed units below `folder`, the project's systemd/."""
    for place, (platform, systemd) in DEFAULTS.items():
        (folder / place).mkdir(exist_ok=True)
        for name, text in render(platform, systemd).items():
            (folder / place / name).write_text(text)
    (folder / SETUP_FOLDER).mkdir(exist_ok=True)
    (folder / SETUP_FOLDER / SETUP).write_text(render_setup())


def _text(blocks: tuple[Block, ...], platform: Platform, systemd: int) -> str:
    kept = (block.lines for block in blocks if block.since <= systemd < block.until and block.only in (None, platform))
    return "\n".join(kept) + "\n"
