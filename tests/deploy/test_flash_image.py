"""A folder and an image get the same tree, whole or not taken for done, and nothing else in them changes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deploying import ROOT
from flashing import (
    BOOTS,
    BUNDLE,
    DONE,
    ENVIRONMENT,
    KEY,
    MEGABYTE,
    boot_of,
    content_of,
    digest,
    make_bundle,
    make_image,
    make_root,
    only_root,
    run,
    tree,
    tree_of,
)

from converters.cli.flash import main

PSK_LENGTH = 64


@only_root
def test_a_board_gets_the_bundle_the_enabled_unit_and_what_makes_it_ones_own(laid: Path, bundle: Path, tmp_path: Path) -> None:
    content = content_of(bundle, tmp_path / "content")
    there = tree(laid / BUNDLE)
    assert {name: (laid / BUNDLE / name).read_bytes() for name in content} == content
    assert {name.split()[0] for name in there.values() if len(name) > 20} == {"0644", "0755"}
    assert os.access(laid / BUNDLE / "install.sh", os.X_OK)
    unit = (laid / "etc/systemd/system/emotion-edge-setup.service").read_text()
    assert unit == (ROOT / "systemd/first-boot/emotion-edge-setup.service").read_text()
    assert str((laid / DONE).readlink()) == "/etc/systemd/system/emotion-edge-setup.service"
    all_of_it = tree(laid)
    secrets = {
        "etc/emotion-edge/mqtt-password": "0640 0:0",
        "etc/emotion-edge/config.toml": "0640 0:0",
        "etc/emotion-edge/owner.pub": "0644 0:0",
        "etc/NetworkManager/system-connections/emotion-edge.nmconnection": "0600 0:0",
        "home/pi/.ssh": "0700 1000:1000",
        "home/pi/.ssh/authorized_keys": "0600 1000:1000",
    }
    assert {name: all_of_it[name][: len(about)] for name, about in secrets.items()} == secrets
    assert (laid / "etc/emotion-edge/mqtt-password").read_text() == "hunter2\n"
    assert "hunter2" not in (laid / "etc/emotion-edge/config.toml").read_text()
    assert "correct horse" not in (laid / "etc/NetworkManager/system-connections/emotion-edge.nmconnection").read_text()
    assert (laid / "etc/hostname").read_text() == "camera-1\n"
    assert (laid / "etc/hosts").read_text() == "127.0.0.1\tlocalhost\n127.0.1.1\tcamera-1\n"
    assert (laid / "home/pi/.ssh/authorized_keys").read_text() == f"{KEY}\n"


@only_root
@pytest.mark.parametrize("label", ["dos", "gpt", "none"])
def test_an_image_gets_the_same_tree_as_a_folder(
    laid: Path, bundle: Path, own: list[str], tmp_path: Path, label: str, capsys: pytest.CaptureFixture[str]
) -> None:
    image = make_image(tmp_path / "card.img", make_root(tmp_path / "root"), label=label)
    before = digest(image)
    command = ["--bundle", str(bundle), "--image", str(image), *own]
    assert main([*command, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert digest(image) == before
    assert main(command) == 0
    there = tree_of(image, tmp_path / "there")
    assert there == tree(laid)
    # What was shown is what was done; what was there and is not named is as it was.
    old = tree(tmp_path / "root")
    changed = {name for name in there if old.get(name) != there[name]}
    assert changed
    assert all(f" /{name}" in shown for name in changed)
    assert not [line for line in shown.splitlines() if "hunter2" in line or "correct horse" in line]
    after = digest(image)
    assert main(command) == 0
    assert "it was all there" in capsys.readouterr().out
    assert digest(image) == after


@only_root
def test_a_folder_that_is_shown_is_not_touched(bundle: Path, own: list[str], tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    before = tree(root)
    assert main(["--bundle", str(bundle), "--rootfs", str(root), *own, "--dry-run"]) == 0
    assert tree(root) == before


@only_root
@pytest.mark.parametrize("kind", ["folder", "image"])
def test_what_another_bundle_had_is_gone(laid: Path, bundle: Path, own: list[str], tmp_path: Path, kind: str) -> None:
    """install.sh refuses files that it does not know."""
    root = make_root(tmp_path / "root")
    (root / BUNDLE / "wheels/deep").mkdir(parents=True)
    (root / BUNDLE / "wheels/deep/old.whl").write_bytes(b"old")
    (root / BUNDLE / "bundle.json").mkdir()
    (root / BUNDLE / "install.sh.edge-flash").write_bytes(b"of an interrupted run")
    place = root if kind == "folder" else make_image(tmp_path / "card.img", root)
    assert main(["--bundle", str(bundle), "--rootfs" if kind == "folder" else "--image", str(place), *own]) == 0
    assert (tree(root) if kind == "folder" else tree_of(place, tmp_path / "there")) == tree(laid)


def secrets_of_the_boot(image: Path) -> str:
    return "".join(boot_of(image).values())


@pytest.mark.parametrize("label", ["dos", "gpt"])
def test_raspberry_pi_os_bookworm_is_told_on_its_boot_partition(
    bundle: Path, own: list[str], tmp_path: Path, label: str, capsys: pytest.CaptureFixture[str]
) -> None:
    image = make_image(tmp_path / "card.img", make_root(tmp_path / "root", "bookworm"), BOOTS["bookworm"], label=label)
    command = ["--bundle", str(bundle), "--image", str(image), *own]
    assert main(command) == 0
    boot = boot_of(image)
    words = boot["cmdline.txt"].split()
    assert boot["cmdline.txt"].count("\n") == 1
    assert words[: len(BOOTS["bookworm"]["cmdline.txt"].split())] == BOOTS["bookworm"]["cmdline.txt"].split()
    assert words[-3:] == [
        "systemd.run=/boot/firmware/firstrun.sh",
        "systemd.run_success_action=reboot",
        "systemd.unit=kernel-command-line.target",
    ]
    script = tmp_path / "firstrun.sh"
    script.write_text(boot["firstrun.sh"])
    run("shellcheck", "-s", "sh", script)
    assert f"enable_ssh -k '{KEY}'" in boot["firstrun.sh"]
    assert "set_wlan_country DE" in boot["firstrun.sh"]
    there = tree_of(image, tmp_path / "there")
    # Secrets lie where modes are kept, and not on FAT.
    assert there["etc/NetworkManager/system-connections/emotion-edge.nmconnection"].startswith("0600 ")
    assert not [word for word in ("hunter2", "correct horse", "psk") if word in secrets_of_the_boot(image)]
    after = digest(image)
    assert main(command) == 0
    assert digest(image) == after
    # Only what is lost there is written, and that is told.
    run("mdel", "-i", f"{image}@@{MEGABYTE}", "::firstrun.sh")
    capsys.readouterr()
    assert main(command) == 0
    assert ("1 steps taken" in capsys.readouterr().out, boot_of(image)) == (True, boot)


def test_its_script_takes_itself_away(bundle: Path, own: list[str], tmp_path: Path) -> None:
    """Run as the board does, with a folder for its boot partition and nothing in place of Raspberry Pi's own programs."""
    image = make_image(tmp_path / "card.img", make_root(tmp_path / "root", "bookworm"), BOOTS["bookworm"])
    assert main(["--bundle", str(bundle), "--image", str(image), *own]) == 0
    boot = tmp_path / "boot"
    boot.mkdir()
    for name, content in boot_of(image).items():
        (boot / name).write_text(content.replace("/boot/firmware", str(boot)).replace("/var/lib/systemd", str(boot)))
    done = subprocess.run(["sh", boot / "firstrun.sh"], capture_output=True, env={"PATH": "/bin:/usr/bin"})
    assert done.returncode == 0
    assert not (boot / "firstrun.sh").exists()
    assert (boot / "cmdline.txt").read_text() == BOOTS["bookworm"]["cmdline.txt"]


def test_raspberry_pi_os_trixie_is_told_by_cloud_init(own: list[str], tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, "pi-trixie64")
    root = make_root(tmp_path / "root", "trixie", glibc="2.41", python="3.13")
    image = make_image(tmp_path / "card.img", root, BOOTS["trixie"])
    assert main(["--bundle", str(bundle), "--image", str(image), *own]) == 0
    boot = boot_of(image)
    assert boot["cmdline.txt"] == BOOTS["trixie"]["cmdline.txt"]
    assert boot["meta-data"] == BOOTS["trixie"]["meta-data"]
    assert boot["user-data"].startswith("#cloud-config\n")
    data = json.loads(boot["user-data"].partition("{")[1] + boot["user-data"].partition("{")[2])
    assert (data["hostname"], data["enable_ssh"], data["ssh_pwauth"]) == ("camera-1", True, False)
    assert (data["users"][0]["name"], data["users"][0]["ssh_authorized_keys"]) == ("pi", [KEY])
    network = json.loads("{" + boot["network-config"].partition("{")[2])["network"]
    access = network["wifis"]["wlan0"]["access-points"]
    assert network["wifis"]["wlan0"]["regulatory-domain"] == "DE"
    assert (list(access), len(access['a; "net"']["password"])) == (['a; "net"'], PSK_LENGTH)
    # FAT keeps no modes: neither password is on it, only the key that is derived from one.
    assert not [word for word in ("hunter2", "correct horse") if word in secrets_of_the_boot(image)]
    there = tree_of(image, tmp_path / "there")
    assert "etc/emotion-edge/mqtt-password" in there
    assert there["etc/hostname"] == tree(root)["etc/hostname"], "cloud-init sets it"


WATCH = """#!/bin/sh
echo "{name} $1 $(fincore -b -n -o RES {image})" >>{log}
exec {real} "$@"
"""


def in_memory(path: Path) -> int:
    """Bytes of a file that are read from memory."""
    return int(run("fincore", "-b", "-n", "-o", "RES", path))


def test_what_is_read_back_is_not_this_machines_memory_of_it(
    bundle: Path, image: Path, own: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which("fincore", path=ENVIRONMENT["PATH"]):
        pytest.skip("fincore is not installed")
    card, log, shims = Path(shutil.copy(image, tmp_path / "card.img")), tmp_path / "log", tmp_path / "shims"
    with card.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if in_memory(card):
        pytest.skip("a file system on a disk is not installed here")
    shims.mkdir()
    for name in ("debugfs", "mdir"):
        real = shutil.which(name, path=ENVIRONMENT["PATH"])
        (shims / name).write_text(WATCH.format(name=name, image=card, log=log, real=real))
        (shims / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{shims}:{ENVIRONMENT['PATH']}")
    assert main(["--bundle", str(bundle), "--image", str(card), *own]) == 0
    calls = [line.split() for line in log.read_text().splitlines()]
    writing = max(number for number, (name, how, _) in enumerate(calls) if (name, how) == ("debugfs", "-w"))
    # The boot partition's files are read first, and then the root's.
    assert calls[writing + 1] == ["mdir", "-b", "0"]
    assert int(calls[writing][2]) > 0
    assert [name for name, *_ in calls[writing + 2 :]] == ["debugfs"] * (len(calls) - writing - 2) != []


def test_it_needs_none_of_the_packages_that_make_bundles(bundle: Path, image: Path) -> None:
    code = "import sys; sys.modules |= {'elftools': None, 'packaging': None}; from converters.cli.flash import main; exit(main())"
    command = [sys.executable, "-c", code, "--bundle", str(bundle), "--image", str(image), "--dry-run"]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
