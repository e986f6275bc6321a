"""A card in a reader is written only when it is one, nobody uses it, and a person has typed its name.

A plain file stands for the card, with a folder for what the kernel tells of it (`Kernel`); where this machine has loop devices
the same is done with a real block device.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deploying import ROOT
from flashing import ENVIRONMENT, MEGABYTE, boot_of, digest, run, tree_of

from converters.cli.flash import main
from converters.deploy.flash.device import Disk, Kernel, open_disk, write_image
from converters.deploy.flash.ext4 import Ext4
from edge.errors import DeployError

CARD = 64 * MEGABYTE


def kernel(folder: Path, size: int = CARD, **facts: str) -> Kernel:
    """What the kernel would tell of a card reader on USB, sdz, with one partition."""
    disk = folder / "sys/devices/usb1/block/sdz"
    (disk / "sdz1/holders").mkdir(parents=True)
    (disk / "holders").mkdir()
    (disk / "device").mkdir()
    (folder / "sys/dev/block").mkdir(parents=True)
    (folder / "sys/dev/block/8:400").symlink_to(disk)
    (folder / "sys/dev/block/8:401").symlink_to(disk / "sdz1")
    (folder / "proc/self").mkdir(parents=True)
    told = {"dev": "8:400", "removable": "1", "ro": "0", "size": str(size // 512), "device/model": "Reader ", **facts}
    told |= {"sdz1/dev": "8:401", "sdz1/partition": "1"}
    for name, text in told.items():
        (disk / name).write_text(f"{text}\n")
    (folder / "proc/self/mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    (folder / "proc/swaps").write_text("Filename Type Size Used Priority\n")
    return Kernel(folder / "sys", folder / "proc", lambda path: (8, 400) if path.name == "sdz" else None)


def card(folder: Path, size: int = CARD) -> Path:
    path = folder / "sdz"
    with path.open("wb") as file:
        file.write(b"what was on it before" * 1000)
        file.truncate(size)
    return path


def put(name: str, text: str) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    return apply


DISK = "sys/devices/usb1/block/sdz"
BAD: list[tuple[Callable[[Path], object], str]] = [
    (put("proc/self/mountinfo", "22 1 8:400 / /media/card rw - vfat /dev/sdz rw\n"), "mounted at /media/card; umount"),
    (put("proc/self/mountinfo", "22 1 8:401 / /media/card rw - vfat /dev/sdz1 rw\n"), "mounted at /media/card; umount"),
    (put("proc/swaps", "Filename\n/dev/sdz1 partition 1 0 -2\n"), "swaps on sdz1"),
    (put(f"{DISK}/sdz1/holders/dm-0", ""), "in use by dm-0"),
    (put(f"{DISK}/ro", "1\n"), "write-protected"),
    (put(f"{DISK}/size", "0\n"), "no card in it"),
    (put(f"{DISK}/size", f"{20 * MEGABYTE // 512}\n"), "take a larger card"),
    (put(f"{DISK}/partition", "1\n"), "a partition; give the whole disk"),
]


@pytest.mark.parametrize(("damage", "sentence"), BAD, ids=[sentence[:30] for _, sentence in BAD])
def test_a_disk_that_is_not_for_this_is_left_alone(
    bundle: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], object], sentence: str
) -> None:
    there, device = kernel(tmp_path), card(tmp_path)
    damage(tmp_path)
    before = digest(device)
    assert main(["--bundle", str(bundle), "--device", str(device), "--image", str(image)], there) == 2
    error = capsys.readouterr().err
    assert (sentence in error, error.count("\n")) == (True, 1)
    assert digest(device) == before


def test_a_disk_of_this_machine_is_not_removable(tmp_path: Path) -> None:
    there, device = kernel(tmp_path, removable="0"), card(tmp_path)
    # A reader on USB may say that, too.
    assert open_disk(device, there).name == "sdz"
    inside = tmp_path / "sys/devices/pci0/block"
    inside.mkdir(parents=True)
    (tmp_path / DISK).rename(inside / "sdz")
    (tmp_path / "sys/dev/block/8:400").unlink()
    (tmp_path / "sys/dev/block/8:400").symlink_to(inside / "sdz")
    with pytest.raises(DeployError, match="not removable"):
        open_disk(device, there)


def test_what_is_no_disk_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DeployError, match="not a disk; a file with an image is --image"):
        open_disk(tmp_path / "file", Kernel())
    with pytest.raises(DeployError, match="lsblk lists the disks"):
        open_disk(tmp_path / "none", Kernel())
    with pytest.raises(DeployError, match="not a disk"):
        open_disk(Path("/dev/null"), Kernel())


SEAM = """
import sys
from pathlib import Path
from converters.cli.flash import main
from converters.deploy.flash.device import Kernel
folder = Path(sys.argv[1])
kernel = Kernel(folder / "sys", folder / "proc", lambda path: (8, 400) if path.name == "sdz" else None)
sys.exit(main(sys.argv[2:], kernel))
"""


def typed(folder: Path, text: str, *arguments: str | Path, seam: str = SEAM) -> tuple[int, str]:
    """Run edge-flash at a terminal where somebody types once it has asked."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", seam, str(folder), *map(str, arguments)]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    # In a session of its own: a terminal that this test is started from is nobody's to be asked at.
    with subprocess.Popen(
        command, stdin=theirs, stdout=pipe, stderr=subprocess.STDOUT, env=environment, start_new_session=True
    ) as process:
        late = threading.Timer(120, process.kill)
        late.start()
        os.close(theirs)
        said = b""
        while not said.endswith(b": ") and (more := process.stdout.read1()):
            said += more
        os.write(ours, text.encode())
        said += process.stdout.read()
        late.cancel()
    os.close(ours)
    return process.returncode, said.decode()


def test_a_card_is_written_read_back_and_edited(bundle: Path, image: Path, tmp_path: Path) -> None:
    kernel(tmp_path)
    device = card(tmp_path)
    before = digest(device)
    command = ["--bundle", bundle, "--device", device, "--image", image, "--hostname", "camera-1"]
    status, said = typed(tmp_path, "sda\n", *command)
    assert status == 2
    assert "that was not its name" in said
    assert digest(device) == before
    # Ctrl-D: at a name, and at a password.
    (tmp_path / "mqtt.toml").write_text('host = "b"\nusername = "c"\n')
    for more in ([], ["--mqtt-file", tmp_path / "mqtt.toml"]):
        status, said = typed(tmp_path, "\x04", *command, *more)
        assert (status, "nothing was done: no answer" in said, "Traceback" in said) == (2, True, False), said
        assert ("password of c on b: " in said) is bool(more)
    assert digest(device) == before
    source = digest(image)
    status, said = typed(tmp_path, "sdz\n", *command)
    assert status == 0, said
    assert "Reader, 0.1 GB; EVERYTHING on it is erased" in said
    assert digest(image) == source, "the image is a source here"
    # An image that is flashed itself is what the card has become.
    itself = Path(shutil.copy(image, tmp_path / "itself.img"))
    assert main(["--bundle", str(bundle), "--image", str(itself), "--hostname", "camera-1"]) == 0
    assert tree_of(device, tmp_path / "there") == tree_of(itself, tmp_path / "same")
    assert boot_of(device) == boot_of(itself)
    # The card as it is now, without another image: what is there is there.
    alone = [word for word in command if word not in ("--image", image)]
    status, said = typed(tmp_path, "sdz\n", *alone)
    assert (status, "it was all there" in said) == (0, True), said
    # Left half-written by a run before: it is mended, but not before the name is typed.
    run("debugfs", "-w", "-R", "set_super_value state 2", f"{device}?offset={5 * MEGABYTE}")
    before = digest(device)
    assert typed(tmp_path, "sda\n", *alone)[0] == 2
    assert digest(device) == before
    status, said = typed(tmp_path, "sdz\n", *alone)
    assert (status, said.count("type sdz")) == (0, 1), said
    assert tree_of(device, tmp_path / "there") == tree_of(itself, tmp_path / "same")


def test_nobody_at_a_terminal_is_nobody_who_agrees(
    bundle: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, device = kernel(tmp_path), card(tmp_path)
    before = digest(device)
    command = ["--bundle", str(bundle), "--device", str(device), "--image", str(image)]
    assert main([*command, "--dry-run"], there) == 0
    assert f"write  {image} to {device} (Reader, 0.1 GB), and read it back" in capsys.readouterr().out
    assert main(command, there) == 2
    assert "its name has to be typed at a terminal" in capsys.readouterr().err
    assert main([*command, "--yes", "sdz"], there) == 2
    assert digest(device) == before


class StopError(Exception):
    """The moment at which the power goes."""


def test_a_card_that_is_half_written_has_no_partitions(image: Path, tmp_path: Path) -> None:
    device = card(tmp_path)
    disk = Disk(device, "sdz", CARD, "")

    def stop(*_: object) -> None:
        raise StopError

    def stop_at_the_end() -> None:
        raise StopError

    for edit, progress in ((lambda: None, stop), (stop_at_the_end, lambda *_: None)):
        with pytest.raises(StopError):
            write_image(image, disk, MEGABYTE, edit, progress)
        assert device.read_bytes()[:MEGABYTE] == bytes(MEGABYTE)
    # The next one begins anew and gets to the end.
    write_image(image, disk, MEGABYTE, lambda: None, lambda *_: None)
    assert device.read_bytes()[: image.stat().st_size] == image.read_bytes()


def test_a_card_that_does_not_keep_what_is_written_is_told(image: Path, tmp_path: Path) -> None:
    device = card(tmp_path)

    def forget(what: str, done: int, total: int) -> None:
        if what == "writing" and done == total:
            with device.open("r+b") as file:
                file.seek(15 * MEGABYTE)
                file.write(b"\xff")

    with pytest.raises(DeployError, match="does not keep what is written to it"):
        write_image(image, Disk(device, "sdz", CARD, ""), MEGABYTE, lambda: None, forget)
    assert device.read_bytes()[:512] == bytes(512)


@contextlib.contextmanager
def loop_device(path: Path) -> Iterator[Path]:
    """A real block device over a file."""
    done = subprocess.run(["losetup", "-f", "--show", path], capture_output=True, text=True, env=ENVIRONMENT)
    if done.returncode:
        pytest.skip(f"a loop device is not installed here ({done.stderr.strip()})")
    try:
        yield Path(done.stdout.strip())
    finally:
        subprocess.run(["losetup", "-d", done.stdout.strip()], env=ENVIRONMENT, check=True)


def test_udevs_look_at_a_disk_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loop_device(card(tmp_path)) as device, device.open("rb") as udev:
        fcntl.flock(udev, fcntl.LOCK_SH)
        end = threading.Timer(0.5, fcntl.flock, (udev, fcntl.LOCK_UN))
        end.start()
        try:
            with Ext4(device, 0).alone():
                pass
        finally:
            end.join()
        # Not for ever.
        monkeypatch.setattr("converters.deploy.flash.ext4.UDEV", 0.2)
        fcntl.flock(udev, fcntl.LOCK_SH)
        with pytest.raises(DeployError, match="another edge-flash is at work on it"), Ext4(device, 0).alone():
            pass


def test_a_disk_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="cannot be opened for writing"), Ext4(tmp_path, 0).alone():
        pass


def test_a_real_block_device(bundle: Path, image: Path, tmp_path: Path) -> None:
    """The kernel's own numbers, exclusive opening and page cache; only that it is removable is said by the test."""
    with loop_device(card(tmp_path)) as device:
        entry = Path("/sys/block", device.name)
        dev, sectors = ((entry / name).read_text().strip() for name in ("dev", "size"))
        kernel(tmp_path, size=int(sectors) * 512, dev=dev)
        number = tuple(map(int, dev.split(":")))
        (tmp_path / "sys/dev/block" / dev).symlink_to(tmp_path / DISK)
        seam = SEAM.replace('(8, 400) if path.name == "sdz" else None', repr(number))
        command = ["--bundle", bundle, "--device", device, "--image", image, "--hostname", "camera-1"]
        assert main([*map(str, command)]) == 2, "it is not removable"
        status, said = typed(tmp_path, "sdz\n", *command, seam=seam)
        assert status == 0, said
        there = tree_of(device, tmp_path / "there")
        assert "opt/emotion-edge/bundle/install.sh" in there
        assert "firstrun.sh" not in boot_of(device)
