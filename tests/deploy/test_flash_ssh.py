"""A board that runs gets the same tree through a real sshd, and its installer is run.

The board is a folder that sshd's ForceCommand shuts every command into, with busybox for its programs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from deploying import ROOT
from flashing import BUNDLE, DONE, ENVIRONMENT, KEY, make_bundle, make_root, run, tree

from converters.cli.flash import main

INSTALLER = """#!/usr/local/bin/sh
echo "installing from $0"
echo called >>/installed
cat /status 2>/dev/null && exit "$(cat /status)"
exit 0
"""
# Sends as always, and receives 100 kB only.
BREAKS = """#!/usr/local/bin/sh
case $1 in -xpf) head -c 100000 | busybox tar "$@" 2>/dev/null; exit 0 ;; esac
exec busybox tar "$@"
"""
# What Raspberry Pi OS and Debian have in place of busybox.
PROGRAMS = "sh cat chown cp dirname id ln mkdir mv rm stat sync tar test true"

# Of a service that runs there.
GROUP = 990


@dataclass(frozen=True)
class Board:
    """A folder that is reached by ssh."""

    root: Path
    config: Path
    log: Path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with an installer that only says that it was run: the real one is tested in tests/systemd."""
    folder = tmp_path_factory.mktemp("bundle")
    checkout = folder / "checkout"
    (checkout / "systemd").mkdir(parents=True)
    for name in ("LICENSE", "NOTICE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, checkout)
    for path in (ROOT / "systemd").iterdir():
        if path.is_file():
            shutil.copy(path, checkout / "systemd")
    (checkout / "systemd/install.sh").write_text(INSTALLER)
    return make_bundle(folder, checkout=checkout)


@contextlib.contextmanager
def sshd(folder: Path, root: Path) -> Iterator[Board]:
    """A server for one user with one key, on a free port of this machine."""
    keys = folder / "ssh"
    keys.mkdir(mode=0o700)
    for name in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / name)
    shutil.copy(keys / "user.pub", keys / "authorized")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (keys / "inside").write_text(
        f'#!/bin/sh\nPATH=/usr/local/bin:$PATH exec chroot {root} /usr/local/bin/sh -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    (keys / "inside").chmod(0o755)
    (keys / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {keys}/host\nAuthorizedKeysFile {keys}/authorized\nPidFile none\n"
        f"StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nForceCommand {keys}/inside\n"
    )
    address = (keys / "host.pub").read_text().split()
    (keys / "known").write_text(f"[127.0.0.1]:{port} {address[0]} {address[1]}\n")
    (keys / "config").write_text(
        f"Host board\n  HostName 127.0.0.1\n  Port {port}\n  User root\n  IdentityFile {keys}/user\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {keys}/known\n  StrictHostKeyChecking yes\n  BatchMode yes\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    program = shutil.which("sshd", path=ENVIRONMENT["PATH"])
    with (keys / "log").open("wb") as log:
        server = subprocess.Popen([program, "-D", "-e", "-f", keys / "sshd_config"], stderr=log)
        try:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.05)
            yield Board(root, keys / "config", keys / "log")
        finally:
            server.terminate()
            server.wait(10)


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    if os.geteuid() != 0:
        pytest.skip("only root can shut a server into a folder; sudo is not installed")
    for program in ("sshd", "ssh", "busybox"):
        if not shutil.which(program, path=ENVIRONMENT["PATH"]):
            pytest.skip(f"{program} is not installed")
    root = make_root(tmp_path / "root")
    # The board's own shell is for another processor: busybox is started under a name that is looked for before it.
    busybox = Path(shutil.which("busybox", path=ENVIRONMENT["PATH"]))
    (root / "usr/local/bin").mkdir(parents=True)
    shutil.copy(busybox, root / "usr/local/bin/busybox")
    for name in PROGRAMS.split():
        (root / "usr/local/bin" / name).symlink_to("busybox")
    for line in run("ldd", busybox).splitlines():
        library = next((word for word in line.split() if word.startswith("/")), None)
        if library:
            place = root / library.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, place)
    (root / "dev").mkdir()
    (root / "dev/null").write_bytes(b"")
    with sshd(tmp_path, root) as running:
        yield running


def flash(board: Board, bundle: Path, *more: str | Path) -> int:
    return main(["--bundle", str(bundle), "--ssh", "board", "--ssh-config", str(board.config), *map(str, more)])


def own_files(folder: Path) -> list[str]:
    (folder / "mqtt.toml").write_text('host = "broker.example"\nusername = "c"\npassword = "hunter2"\n')
    (folder / "wifi.toml").write_text('ssid = "net"\npassword = "correct horse"\ncountry = "DE"\n')
    (folder / "id.pub").write_text(KEY)
    files = {"--mqtt-file": "mqtt.toml", "--wifi-file": "wifi.toml", "--ssh-key": "id.pub"}
    return ["--hostname", "camera-1", *(word for flag, name in files.items() for word in (flag, str(folder / name)))]


def without_the_servers_own(there: dict[str, str]) -> dict[str, str]:
    return {name: about for name, about in there.items() if not name.startswith(("usr/", "lib", "dev", "installed", "status"))}


def test_a_running_board_gets_the_same_tree_and_its_installer_runs(
    board: Board, bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = own_files(tmp_path)
    folder = make_root(tmp_path / "folder")
    assert main(["--bundle", str(bundle), "--rootfs", str(folder), *own]) == 0
    before = without_the_servers_own(tree(board.root))
    assert flash(board, bundle, *own, "--dry-run") == 0
    assert "write  /etc/emotion-edge/mqtt-password (0640, 8 bytes)" in capfd.readouterr().out
    assert without_the_servers_own(tree(board.root)) == before
    assert flash(board, bundle, *own) == 0, board.log.read_text()
    assert f"installing from /{BUNDLE}/install.sh" in capfd.readouterr().out
    assert without_the_servers_own(tree(board.root)) == without_the_servers_own(tree(folder))
    # Once more, over an installation: that is an upgrade.
    (board.root / "opt/emotion-edge/versions/1").mkdir(parents=True)
    (board.root / "opt/emotion-edge/versions/1/bundle.json").write_text("{}")
    (board.root / "opt/emotion-edge/current").symlink_to("versions/1")
    (board.root / BUNDLE / "stale").write_text("of the bundle before")
    assert flash(board, bundle) == 0
    assert not (board.root / BUNDLE / "stale").exists()
    assert (board.root / "installed").read_text() == "called\n" * 2


def test_the_settings_of_a_board_in_use_are_added_to(
    board: Board, bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config, mqtt, other = board.root / "etc/emotion-edge/config.toml", tmp_path / "mqtt.toml", tmp_path / "other.toml"
    config.parent.mkdir()
    config.write_text('[camera]\nsource = "csi"\n')
    config.chmod(0o640)
    os.chown(config, 0, GROUP)
    mqtt.write_text('host = "broker.example"\n')
    mark = board.root / "opt/emotion-edge/current/.healthy"
    mark.parent.mkdir(parents=True)
    mark.touch()
    assert flash(board, bundle) == 0
    assert mark.exists()
    assert flash(board, bundle, "--mqtt-file", mqtt) == 0
    assert not mark.exists(), "the installer would not start again what has not read these settings"
    added = '[camera]\nsource = "csi"\n\n[mqtt]\nhost = "broker.example"\n'
    there = config.stat()
    # The service can read it whether the installer comes to its end or not.
    assert (config.read_text(), there.st_mode & 0o777, there.st_gid) == (added, 0o640, GROUP)
    assert flash(board, bundle, "--mqtt-file", mqtt) == 0
    assert config.stat().st_ino == there.st_ino, "it is not written again"
    other.write_text('host = "other.example"\n')
    for content, sentence in (
        (added.encode(), "mqtt.host is 'broker.example'"),
        (b"[mqtt", "not valid TOML"),
        (b"\xff", "not valid TOML"),
    ):
        config.write_bytes(content)
        before = without_the_servers_own(tree(board.root))
        capfd.readouterr()
        assert flash(board, bundle, "--mqtt-file", other) == 2
        error = capfd.readouterr().err
        assert (sentence in error, error.count("\n")) == (True, 1)
        assert without_the_servers_own(tree(board.root)) == before
    # In its place, if that is what is asked for.
    other.write_text('[camera]\nsource = "pi"\n')
    assert flash(board, bundle, "--mqtt-file", mqtt, "--config", other) == 0
    assert config.read_text() == added.replace("csi", "pi")


@pytest.mark.parametrize(("status", "expected"), [(1, 1), (2, 2), (126, 2)])
def test_what_the_installer_says_is_the_end_of_it(board: Board, bundle: Path, status: int, expected: int) -> None:
    (board.root / "status").write_text(str(status))
    assert flash(board, bundle) == expected


def test_a_line_that_breaks_leaves_the_board_as_it_was(board: Board, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half an archive: its tar ends there as if nothing had happened."""
    tar = board.root / "usr/local/bin/tar"
    tar.unlink()
    tar.write_text(BREAKS)
    tar.chmod(0o755)
    (board.root / "usr/local/bin/head").symlink_to("busybox")
    before = without_the_servers_own(tree(board.root))
    assert flash(board, bundle) == 2
    assert "the line broke" in capsys.readouterr().err
    after = {name: about for name, about in without_the_servers_own(tree(board.root)).items() if not name.startswith("opt")}
    assert after == before
    assert not (board.root / DONE).is_symlink()
    assert not (board.root / BUNDLE).exists()
    tar.unlink()
    tar.symlink_to("busybox")
    assert flash(board, bundle) == 0
    assert not list((board.root / "opt/emotion-edge").glob("incoming*"))


def test_a_board_that_cannot_be_reached_or_is_another(
    board: Board, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--bundle", str(bundle), "--ssh", "nobody.invalid"]) == 2
    assert "nobody.invalid: no connection" in capsys.readouterr().err
    assert main(["--bundle", str(bundle), "--ssh", "-oProxyCommand=touch /tmp/x"]) == 2
    shutil.copy(board.root / "usr/local/bin/busybox", board.root / "usr/bin/dash")
    before = without_the_servers_own(tree(board.root))
    assert flash(board, bundle) == 2
    assert "board: the bundle is for aarch64, 64-bit, and this system is x86_64, 64-bit" in capsys.readouterr().err
    assert without_the_servers_own(tree(board.root)) == before
