"""A folder and an image get the same tree, whole or not taken for done, and nothing else in them changes."""

from __future__ import annotations

import json
import os
import random
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
    root_offset,
    run,
    superblock,
    tree,
    tree_of,
)

from converters.cli.flash import main

WIFI = 'ssid = "a; \\"net\\""\npassword = "correct horse"\ncountry = "DE"\n'
MQTT = 'host = "broker.example"\nport = 8883\ntls = true\nca_file = "ca.crt"\nusername = "camera-1"\npassword = "hunter2"\n'
PSK_LENGTH = 64
# How often debugfs is killed, and how often at most until it was in its very writing.
KILLS, MOST_KILLS = 3, 60

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to root; sudo or fakeroot is not installed")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Every flag that makes a board one's own, with its file."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "wifi.toml").write_text(WIFI)
    (folder / "mqtt.toml").write_text(MQTT)
    (folder / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\n")
    (folder / "id.pub").write_text(f"{KEY}\n")
    (folder / "owner.pub").write_text("-----BEGIN PUBLIC KEY-----\n")
    flags = {"--wifi-file": "wifi.toml", "--mqtt-file": "mqtt.toml", "--ssh-key": "id.pub", "--update-key": "owner.pub"}
    return ["--hostname", "camera-1", *(word for flag, name in flags.items() for word in (flag, str(folder / name)))]


@pytest.fixture(scope="module")
def laid(bundle: Path, own: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system in a folder, flashed."""
    root = make_root(tmp_path_factory.mktemp("laid") / "root")
    assert main(["--bundle", str(bundle), "--rootfs", str(root), *own]) == 0
    return root


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


SHIM = """#!/bin/sh
# The real one, killed a moment after the first byte of its {number}th writing, and edge-flash with it.
case " $* " in *" -w "*) ;; *) exec {real} "$@" ;; esac
n=$(($(cat {count} 2>/dev/null || echo 0) + 1))
echo $n >{count}
[ $n = {number} ] || exec {real} "$@"
before=$(stat -c %y {image})
{real} "$@" &
while [ "$(stat -c %y {image})" = "$before" ] && kill -0 $! 2>/dev/null; do :; done
sleep {delay}
kill -9 $! 2>/dev/null
wait $! 2>/dev/null
kill -9 $PPID
"""


@only_root
def test_a_killed_run_is_not_taken_for_done_and_the_next_completes_it(
    laid: Path, bundle: Path, own: list[str], tmp_path: Path, full: bool
) -> None:
    """SIGKILL of debugfs in its writing, and of edge-flash: the file system says that it has errors until all is there."""
    fresh = make_image(tmp_path / "fresh.img", make_root(tmp_path / "root"))
    shims = tmp_path / "shims"
    shims.mkdir()
    torn = 0
    draw = random.Random(6)
    for turn in range(100 if full else MOST_KILLS):
        # The first writing is the mark, the second all the files.
        number, delay = (1, 0) if turn == 0 else (2, draw.uniform(0, 0.01))
        image = shutil.copy(fresh, tmp_path / "card.img")
        (tmp_path / "count").unlink(missing_ok=True)
        shim = shims / "debugfs"
        real = shutil.which("debugfs", path=ENVIRONMENT["PATH"])
        shim.write_text(SHIM.format(real=real, count=tmp_path / "count", image=image, number=number, delay=f"{delay:.4f}"))
        shim.chmod(0o755)
        command = [sys.executable, "-m", "converters.cli.flash", "--bundle", str(bundle), "--image", str(image), *own]
        environment = {**ENVIRONMENT, "PATH": f"{shims}:{ENVIRONMENT['PATH']}", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, env=environment, timeout=60)
        assert done.returncode == -9, done.stderr
        # The shell that has killed it needs a moment to end itself, and holds the lock until then.
        run("flock", "-w", "20", image, "true")
        if number == 2:
            assert "errors" in superblock(image), "e2fsck on the board, and our next run, know that it is half-written"
            torn += (
                subprocess.run(
                    ["e2fsck", "-fn", f"{image}?offset={root_offset(image)}"], capture_output=True, env=ENVIRONMENT
                ).returncode
                != 0
            )
        assert main(command[3:]) == 0
        assert tree_of(image, tmp_path / "there") == tree(laid)
        if torn and turn >= KILLS and not full:
            break
    # The control: without mending, the second run would have written into a torn file system.
    assert torn


@only_root
def test_a_killed_run_in_a_folder_is_completed_too(laid: Path, bundle: Path, own: list[str], tmp_path: Path, full: bool) -> None:
    """Killed at its every fourth rename: the link that enables the unit is there only when all is."""
    whole = tree(laid)
    for number in range(1, 60, 1 if full else 12):
        root = make_root(tmp_path / f"root{number}")
        code = (
            "import os, signal, pathlib, itertools\n"
            f"count, real = itertools.count(1), pathlib.Path.replace\n"
            f"def replace(*a):\n    next(count) == {number} and os.kill(os.getpid(), signal.SIGKILL)\n    return real(*a)\n"
            "pathlib.Path.replace = replace\n"
            "from converters.cli.flash import main\nimport sys\nsys.exit(main())"
        )
        command = ["--bundle", str(bundle), "--rootfs", str(root), *own]
        done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, cwd=ROOT, timeout=60)
        if done.returncode == 0:
            break
        assert done.returncode == -9, done.stderr
        assert not (root / DONE).is_symlink()
        assert tree(root) != whole
        assert main(command) == 0
        assert tree(root) == whole
    assert number > 12


def test_two_at_a_time_do_not_tear_an_image(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    image = make_image(tmp_path / "card.img", make_root(tmp_path / "root"))
    with image.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert main(["--bundle", str(bundle), "--image", str(image)]) == 2
    assert "another edge-flash is at work on it" in capsys.readouterr().err


def test_a_boot_partition_that_was_being_written_is_completed(bundle: Path, own: list[str], tmp_path: Path) -> None:
    """Killed while cmdline.txt was replaced: half of it is there, and all of it beside it."""
    fresh = make_image(tmp_path / "fresh.img", make_root(tmp_path / "root", "bookworm"), BOOTS["bookworm"])
    whole, half = (Path(shutil.copy(fresh, tmp_path / name)) for name in ("whole.img", "half.img"))
    assert main(["--bundle", str(bundle), "--image", str(whole), *own]) == 0
    expected = boot_of(whole)
    for name, text in (("cmdline.txt.new", expected["cmdline.txt"]), ("cmdline.txt", expected["cmdline.txt"][:30])):
        (tmp_path / "file").write_text(text)
        run("mcopy", "-o", "-i", f"{half}@@{MEGABYTE}", tmp_path / "file", f"::{name}")
    run("debugfs", "-w", "-R", "set_super_value state 2", f"{half}?offset={root_offset(half)}")
    before = digest(half)
    assert main(["--bundle", str(bundle), "--image", str(half), *own, "--dry-run"]) == 2
    assert digest(half) == before
    assert main(["--bundle", str(bundle), "--image", str(half), *own]) == 0
    assert boot_of(half) == expected
    assert tree_of(half, tmp_path / "there") == tree_of(whole, tmp_path / "same")
