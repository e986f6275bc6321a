"""What Raspberry Pi OS does at its first boot, told on its boot partition: user-data and network-config for cloud-init (trixie),
firstrun.sh (bookworm). Both as Raspberry Pi's own Imager writes them (rpi-imager, src/customization_generator.cpp).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from converters.deploy.flash.personal import Personal
from converters.deploy.flash.plan import BOOT
from converters.deploy.flash.system import User
from edge.errors import DeployError

NAMES = ("cmdline.txt", "config.txt", "user-data", "network-config", "meta-data", "firstrun.sh")
OURS = "# Written by edge-flash."
# Of a first user (rpi-imager).
GROUPS = "users,adm,dialout,audio,netdev,video,plugdev,cdrom,games,input,gpio,spi,i2c,render,sudo"
# What a person, or Imager, would have set; the files that come with the system have these as comments only.
SETTINGS = {
    "user-data": re.compile(r"^(hostname|users|chpasswd|password|ssh_authorized_keys|rpi|runcmd):", re.MULTILINE),
    "network-config": re.compile(r"^\s*wifis:", re.MULTILINE),
    "firstrun.sh": re.compile("."),
}
# systemd-run-generator(8): runs it instead of the usual start, then starts anew.
RUN = (
    f"systemd.run={BOOT}/firstrun.sh",
    "systemd.run_success_action=reboot",
    "systemd.unit=kernel-command-line.target",
)
META = "dsmode: local\ninstance_id: rpios-image\n"
FIRST_RUN = """#!/bin/sh
{ours}
set +e
{commands}
rm -f {boot}/firstrun.sh
sed -i 's| systemd\\.[^ ]*||g' {boot}/cmdline.txt
exit 0
"""


def cloud_init(personal: Personal, user: User, boot: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files for cloud-init; none where nothing is asked for.

    Raises:
        DeployError: they have somebody's settings already.
    """
    data: dict[str, Any] = {}
    if personal.hostname:
        data |= {"hostname": personal.hostname, "manage_etc_hosts": True}
    if personal.ssh_key:
        login = {
            "name": user.name,
            "groups": GROUPS,
            "shell": "/bin/bash",
            "lock_passwd": True,
            "ssh_authorized_keys": [personal.ssh_key],
            "sudo": "ALL=(ALL) NOPASSWD:ALL",
        }
        data |= {"enable_ssh": True, "ssh_pwauth": False, "users": [login]}
    files = {}
    if wifi := personal.wifi:
        access: dict[str, Any] = {"password": wifi.key} if wifi.key else {}
        if wifi.hidden:
            access["hidden"] = True
        wlan = {"dhcp4": True, "optional": True, "regulatory-domain": wifi.country, "access-points": {wifi.ssid: access}}
        ethernet = {"dhcp4": True, "optional": True}
        network = {"version": 2, "ethernets": {"eth0": ethernet}, "wifis": {"wlan0": wlan}}
        files["network-config"] = f"{OURS}\n{_yaml({'network': network})}"
    if data:
        files["user-data"] = f"#cloud-config\n{OURS}\n{_yaml(data)}"
    if files and "meta-data" not in boot:
        files["meta-data"] = META
    return _unless_taken(files, boot)


def first_run(personal: Personal, user: User, boot: Mapping[str, bytes]) -> dict[str, bytes]:
    """firstrun.sh for what only the running system can do, and the words that start it; none where nothing is asked for.

    Raises:
        DeployError: there is one of somebody else's.
    """
    custom, commands = "/usr/lib/raspberrypi-sys-mods/imager_custom", []
    if personal.ssh_key:
        commands += [
            f"{custom} enable_ssh -k {shlex.quote(personal.ssh_key)}",
            # Without it the system waits at its screen for somebody to name a user.
            f"/usr/lib/userconf-pi/userconf {shlex.quote(user.name)} ''",
        ]
    if personal.wifi:
        # The radio stays off until it knows the country.
        commands += [
            f"{custom} set_wlan_country {personal.wifi.country}",
            "rfkill unblock wifi",
            'for file in /var/lib/systemd/rfkill/*:wlan; do echo 0 >"$file"; done',
        ]
    if not commands:
        return {}
    line = boot.get("cmdline.txt", b"").decode("utf-8", "replace").strip()
    if not line:
        raise DeployError("the boot partition has no cmdline.txt, so a first boot cannot be told what to do")
    words = " ".join([*(word for word in line.split(" ") if word not in RUN), *RUN])
    script = FIRST_RUN.format(ours=OURS, commands="\n".join(commands), boot=BOOT)
    # The words come after the script that they start.
    return _unless_taken({"firstrun.sh": script}, boot) | {"cmdline.txt": f"{words}\n".encode()}


def grows(boot: Mapping[str, bytes]) -> bool:
    """Whether the first boot makes the root file system as large as the card."""
    words = boot.get("cmdline.txt", b"").decode("utf-8", "replace").split()
    return "resize" in words or any(re.match("init=.*(firstboot|init_resize)", word) for word in words)


def _unless_taken(files: Mapping[str, str], boot: Mapping[str, bytes]) -> dict[str, bytes]:
    for name in files:
        text = boot.get(name, b"").decode("utf-8", "replace")
        if OURS not in text and name in SETTINGS and SETTINGS[name].search(text):
            raise DeployError(f"{name} on the boot partition has settings already; leave out this flag, or use a fresh image")
    return {name: text.encode() for name, text in files.items()}


def _yaml(content: Mapping[str, Any]) -> str:
    """JSON, which is YAML too, and quotes whatever a name or password may hold."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
