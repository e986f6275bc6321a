"""What edge-flash does not take: one sentence, exit status 2, and not a byte is changed."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from flashing import (
    BOOTS,
    ENVIRONMENT,
    KEY,
    MEGABYTE,
    digest,
    make_bundle,
    make_image,
    make_root,
    only_root,
    run,
    superblock,
    tree,
)

from converters.cli.flash import main


def refused(capsys: pytest.CaptureFixture[str], sentence: str, *arguments: str | Path) -> None:
    capsys.readouterr()
    assert main([*map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert error.startswith("edge-flash: ")


def bound(place: Path) -> None:
    (place / "etc/emotion-edge").symlink_to("/tmp")


def installed(place: Path) -> None:
    folder = place / "opt/emotion-edge/versions/1"
    folder.mkdir(parents=True)
    (folder / "bundle.json").write_text("{}")
    (place / "opt/emotion-edge/current").symlink_to("versions/1")


def lose(*names: str) -> Callable[[Path], None]:
    return lambda place: [(place / name).unlink() for name in names] and None


ROOTS: list[tuple[dict[str, object], Callable[[Path], object], str]] = [
    ({"machine": 62}, lambda _: None, "the bundle is for aarch64, 64-bit, and this system is x86_64, 64-bit"),
    (
        {},
        lambda place: (place / "usr/bin/dash").write_bytes(b"\x7fELF\x01\x01" + bytes(12) + struct.pack("<H", 40)),
        "is arm, 32-bit",
    ),
    ({}, lose("usr/bin/dash"), "no Linux system in it"),
    ({"glibc": "2.31"}, lambda _: None, "the bundle needs glibc 2.36 (pi-bookworm64), and Debian 12 has 2.31"),
    ({}, lose("usr/lib/aarch64-linux-gnu/libc.so.6"), "has another C library"),
    ({"python": "3.13"}, lambda _: None, "the bundle is for Python 3.11 with python3-venv (pi-bookworm64)"),
    ({"tegra": True}, lambda _: None, "the bundle is for a Raspberry Pi (pi-bookworm64), and this is a Jetson"),
    ({}, bound, "/etc/emotion-edge is there and is no folder"),
    ({}, installed, "emotion-edge is installed there already"),
    (
        {},
        lambda place: (place / "etc/systemd/system/emotion-edge-setup.service").mkdir(),
        "is there and is a folder; remove it first",
    ),
]


@only_root
@pytest.mark.parametrize(("facts", "damage", "sentence"), ROOTS, ids=[sentence[:40] for *_, sentence in ROOTS])
def test_a_root_that_the_bundle_is_not_for(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], facts: dict, damage: Callable[[Path], object], sentence: str
) -> None:
    root = make_root(tmp_path / "root", **facts)
    damage(root)
    (tmp_path / "mqtt.toml").write_text('host = "b"\n')
    before = tree(root)
    own = ["--mqtt-file", tmp_path / "mqtt.toml"]
    refused(capsys, sentence, "--bundle", bundle, "--rootfs", root, *own)
    assert tree(root) == before
    # debugfs and a folder are of one mind.
    image = make_image(tmp_path / "card.img", root)
    at_first = digest(image)
    if "no Linux system" in sentence:
        sentence = "no partition with a system on it (1: ext)"
    refused(capsys, sentence, "--bundle", bundle, "--image", image, *own)
    assert digest(image) == at_first


def full_disk(image: Path) -> None:
    """Not the image but its root file system: nearly all of it is one file."""
    place = f"{image}?offset={5 * MEGABYTE}"
    (free,) = re.findall(r"Free blocks: +(\d+)", superblock(image))
    run("debugfs", "-w", "-R", "write /dev/null /big", place)
    run("debugfs", "-w", "-R", f"fallocate /big 0 {int(free) - 200}", place)
    subprocess.run(["e2fsck", "-fy", place], capture_output=True, env=ENVIRONMENT)


def write(place: int, content: bytes) -> Callable[[Path], None]:
    def apply(image: Path) -> None:
        with image.open("r+b") as file:
            file.seek(place)
            file.write(content)

    return apply


IMAGES: list[tuple[Callable[[Path], object], str]] = [
    (write(510, b"\0\0"), "no partition table in it"),
    (write(446, bytes(64)), "its partition table is empty or damaged"),
    (write(0, b"\xfd7zXZ\0"), "compressed; unpack it first: xz -d card.img"),
    (write(5 * MEGABYTE, bytes(4096)), "no partition with a system on it (1: fat, 2: other)"),
    (lambda image: os.truncate(image, 10 * MEGABYTE), "cut off: its partition 2 ends at"),
    (write(5 * MEGABYTE + 1024 + 0x68, b"\xff" * 16), "its root file system"),
    (full_disk, "no room: "),
    (lambda image: image.write_bytes(b""), "no partition table in it"),
    (lambda image: image.unlink(), "cannot be read (No such file or directory)"),
    (
        lambda image: run("mcopy", "-i", f"{image}@@{MEGABYTE}", "/etc/hostname", "::firstrun.sh"),
        "firstrun.sh on the boot partition",
    ),
]


@pytest.mark.parametrize(("damage", "sentence"), IMAGES, ids=[sentence[:40] for _, sentence in IMAGES])
def test_an_image_that_cannot_be_edited(
    bundle: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], object], sentence: str
) -> None:
    card = Path(shutil.copy(image, tmp_path / "card.img"))
    damage(card)
    before = digest(card) if card.exists() else None
    (tmp_path / "id.pub").write_text(KEY)
    refused(capsys, sentence, "--bundle", bundle, "--image", card, "--ssh-key", tmp_path / "id.pub")
    assert (digest(card) if card.exists() else None) == before


def test_a_bundle_that_is_not_as_it_was_built(
    bundle: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "b.tar.xz").write_bytes(content)
    before = digest(image)
    refused(capsys, "damaged", "--bundle", tmp_path / "b.tar.xz", "--image", image)
    refused(capsys, "cannot be read", "--bundle", tmp_path / "none.tar.xz", "--image", image)
    assert digest(image) == before


def test_a_bundle_for_another_board(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = digest(image)
    refused(
        capsys, "the bundle needs glibc 2.41 (pi-trixie64)", "--bundle", make_bundle(tmp_path, "pi-trixie64"), "--image", image
    )
    assert digest(image) == before


def test_a_program_that_is_missing_is_named_with_its_package(
    bundle: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("converters.deploy.flash.tools.ADMIN", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    refused(capsys, "sudo apt-get install e2fsprogs", "--bundle", bundle, "--image", image)
    for program in ("debugfs", "e2fsck"):
        (tmp_path / program).symlink_to(shutil.which(program, path=ENVIRONMENT["PATH"]))
    refused(capsys, "mcopy, mdir, mdel: not on this machine; sudo apt-get install mtools", "--bundle", bundle, "--image", image)
    refused(capsys, "sudo apt-get install openssh-client", "--bundle", bundle, "--ssh", "board")


def test_a_root_that_nobody_means(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, "the root of this machine", "--bundle", bundle, "--rootfs", "/", "--dry-run")
    refused(capsys, "no such folder", "--bundle", bundle, "--rootfs", tmp_path / "none", "--dry-run")
    refused(capsys, "no Linux system in it", "--bundle", bundle, "--rootfs", tmp_path, "--dry-run")
    refused(capsys, "give one of --rootfs", "--bundle", bundle)
    refused(capsys, "give one of --rootfs", "--bundle", bundle, "--rootfs", tmp_path, "--ssh", "board")
    refused(capsys, "--wifi-password", "--bundle", bundle, "--rootfs", tmp_path, "--wifi-password", "x")


@only_root
def test_raspberry_pi_os_without_its_boot_partition(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_root(tmp_path / "root", "bookworm")
    (tmp_path / "id.pub").write_text(KEY)
    refused(capsys, "cmdline.txt", "--bundle", bundle, "--rootfs", root, "--ssh-key", tmp_path / "id.pub")
    # Mounted as it is on the board.
    (root / "boot/firmware").mkdir(parents=True)
    for name, content in BOOTS["bookworm"].items():
        (root / "boot/firmware" / name).write_text(content)
    assert main(["--bundle", str(bundle), "--rootfs", str(root), "--ssh-key", str(tmp_path / "id.pub")]) == 0
    assert (root / "boot/firmware/firstrun.sh").is_file()


@only_root
def test_a_link_of_the_board_leads_nowhere_on_this_machine(bundle: Path, tmp_path: Path) -> None:
    """Absolute links are the board's own: /etc of it is not ours."""
    root = make_root(tmp_path / "root")
    outside = tmp_path / "outside"
    outside.write_text("mine\n")
    (root / "etc/hostname").unlink()
    (root / "etc/hostname").symlink_to(outside)
    assert main(["--bundle", str(bundle), "--rootfs", str(root), "--hostname", "camera-1"]) == 0
    assert outside.read_text() == "mine\n"
    assert (root / "etc/hostname").read_text() == "camera-1\n"


@only_root
def test_its_boot_partition_is_found_within_it(bundle: Path, tmp_path: Path) -> None:
    """An absolute link in its place, and one in the place of a file that is written."""
    root, outside = make_root(tmp_path / "root", "bookworm"), tmp_path / "outside"
    inside = root / str(outside).lstrip("/")
    for folder in (inside, outside, root / "boot"):
        folder.mkdir(parents=True)
    for name, content in BOOTS["bookworm"].items():
        (inside / name).write_text(content)
    (root / "boot/firmware").symlink_to(outside)
    (inside / "firstrun.sh.new").symlink_to(tmp_path / "mine")
    (tmp_path / "mine").write_text("mine\n")
    (tmp_path / "id.pub").write_text(KEY)
    assert main(["--bundle", str(bundle), "--rootfs", str(root), "--ssh-key", str(tmp_path / "id.pub")]) == 0
    assert (list(outside.iterdir()), (tmp_path / "mine").read_text()) == ([], "mine\n")
    assert {path.name for path in inside.iterdir()} == {"cmdline.txt", "config.txt", "firstrun.sh"}
    assert "firstrun.sh" in (inside / "cmdline.txt").read_text()
