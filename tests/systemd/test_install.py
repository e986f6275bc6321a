"""install.sh: install, again, upgrade, roll back, remove; interrupted anywhere, the next run completes it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from installing import CRASHES, REFUSES, SILENT, SYSTEMD, Board, make_bundle, make_wheel


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles by name: two good versions, and three that do not stay up."""
    folder = tmp_path_factory.mktemp("bundles")
    make_bundle(folder / "one", "1.0")
    make_bundle(folder / "two", "2.0")
    for name, serve in (("crashes", CRASHES), ("refuses", REFUSES), ("silent", SILENT)):
        make_bundle(folder / name, "3.0", serve)
    return folder


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Iterator[Board]:
    """A board with version 1.0."""
    board = Board(tmp_path_factory.mktemp("first") / "board", booted=True)
    done = board.install(bundles / "one")
    assert done.returncode == 0, done.stderr
    yield board
    board.systemctl("stop", "emotion-edge")


@pytest.fixture
def board(first: Board, tmp_path: Path) -> Iterator[Board]:
    """A board of its own with version 1.0, which runs."""
    board = first.copy(tmp_path / "board")
    board.systemctl("daemon-reload")
    board.systemctl("start", "emotion-edge")
    assert (board.current, board.systemctl("is-active", "emotion-edge")) == ("1.0", "active")
    (board.root / "run/systemd/system/calls").unlink()
    yield board
    board.systemctl("stop", "emotion-edge")


def laid(board: Board) -> dict[str, str]:
    """What lies on a board, but for the inside of the virtual environments, which name the board's own folder."""
    return {name: content for name, content in board.tree().items() if "/venv/" not in name}


def test_a_first_installation(first: Board, bundles: Path) -> None:
    tree = laid(first)
    assert first.current == "1.0"
    assert first.systemctl("is-active", "emotion-edge") == "active"
    assert tree["etc/systemd/system/multi-user.target.wants/emotion-edge.service"] == "/etc/systemd/system/emotion-edge.service"
    assert (first.root / "etc/systemd/system/emotion-edge.service").read_text() == (SYSTEMD / "emotion-edge.service").read_text()
    assert first.config() == (SYSTEMD / "config.toml").read_text()
    assert tree["etc/emotion-edge/mqtt-password"].startswith("0640 ")
    assert (first.root / "etc/emotion-edge/config.toml").stat().st_mode & 0o777 == 0o640, "a camera's password may stand in it"
    assert tree["var/lib/emotion-edge"] == "0700"
    assert (first.root / "opt/emotion-edge/current/models/model.tflite").read_bytes() == b"1.0"
    assert (first.root / "var/lib/emotion-edge/models/face_detection_yunet_2023mar.onnx").read_bytes() == b"weights"
    commands = [name for name in tree if name.startswith("usr/local/bin/")]
    assert commands == ["usr/local/bin/edge-engine", "usr/local/bin/edge-run"], "a workstation's commands stay out of the way"


def test_systemd_finds_the_unit_and_its_program_as_they_were_laid_down(board: Board) -> None:
    # Every system has this one; the tree holds no more of a system than what was installed.
    (board.root / "bin").mkdir()
    shutil.copy("/bin/kill", board.root / "bin/kill")
    asked = ["systemd-analyze", f"--root={board.root}", "verify", "--man=no", "--recursive-errors=no", "emotion-edge.service"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    (board.root / "opt/emotion-edge/current").unlink()
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "edge-run is not executable" in done.stderr) == (1, True)


def test_again_changes_nothing_and_restarts_nothing(board: Board, bundles: Path) -> None:
    board.config('[mqtt]\nhost = "mine"\n')
    before = board.tree()
    for _ in range(2):
        done = board.install(bundles / "one")
        assert (done.returncode, done.stderr) == (0, "")
        assert "runs already" in done.stdout
    assert board.tree() == before
    assert "restart emotion-edge" not in board.calls
    # A service that is not up is started, and a file that someone has damaged is put back.
    board.systemctl("stop", "emotion-edge")
    (board.root / "etc/systemd/system/emotion-edge.service").write_text("[Service]\n")
    assert board.install(bundles / "one").returncode == 0
    assert board.systemctl("is-active", "emotion-edge") == "active"
    assert board.tree() == before


@pytest.mark.parametrize("shell", ["dash", "busybox sh", "bash --posix"])
def test_dry_run_shows_the_steps_and_takes_none(board: Board, bundles: Path, tmp_path: Path, shell: str) -> None:
    if shutil.which(shell.split(maxsplit=1)[0]) is None:
        pytest.skip(f"{shell} is not installed")
    for there in (board, Board(tmp_path / "bare", booted=True)):
        there.shell = shell.split()
        before = there.tree()
        for mode, step in (("", "venv"), ("--uninstall", "rm -rf"), ("--purge", "etc/emotion-edge")):
            done = there.install(bundles / "two", "--dry-run", *mode.split())
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.endswith("nothing was done (--dry-run)\n")
            assert step in done.stdout or (there is not board and mode)
        assert there.tree() == before
    assert not (board.root / "run/systemd/system/calls").exists()


def test_an_upgrade_keeps_the_old_version_and_the_settings_and_goes_back_by_hand(board: Board, bundles: Path) -> None:
    board.config('[mqtt]\nhost = "mine"\n')
    (board.root / "opt/emotion-edge/venv").mkdir()
    # A name that is somebody else's.
    (board.root / "usr/local/bin/edge-engine").unlink()
    (board.root / "usr/local/bin/edge-engine").write_text("mine")
    board.shell = ["busybox", "sh"] if shutil.which("busybox") else ["sh"]
    done = board.install(bundles / "two")
    assert (done.returncode, done.stderr) == (0, "")
    assert (board.current, board.version("previous")) == ("2.0", "1.0")
    assert not (board.root / "opt/emotion-edge/venv").exists(), "of installers before there were versions"
    assert (board.root / "usr/local/bin/edge-engine").read_text() == "mine"
    assert board.systemctl("is-active", "emotion-edge") == "active"
    for current, previous in (("1.0", "2.0"), ("2.0", "1.0")):
        done = board.install(bundles / "two", "--rollback")
        assert (done.returncode, done.stderr) == (0, "")
        assert (board.current, board.version("previous")) == (current, previous)
    assert board.config() == '[mqtt]\nhost = "mine"\n'


@pytest.mark.parametrize("fault", ["crashes", "refuses", pytest.param("silent", marks=pytest.mark.full)])
def test_a_version_that_does_not_stay_up_is_taken_back(board: Board, bundles: Path, fault: str) -> None:
    before = laid(board)
    done = board.install(bundles / fault)
    assert done.returncode == 1
    assert done.stderr.startswith("install.sh: 3.0-")
    assert "does not stay up" in done.stderr
    assert "1.0-" in done.stderr
    assert "is back and runs" in done.stderr
    assert done.stderr.count("\n") == 1
    assert (board.current, board.systemctl("is-active", "emotion-edge")) == ("1.0", "active")
    assert laid(board) == before


def test_a_failed_upgrade_leaves_the_way_back_that_there_was(board: Board, bundles: Path) -> None:
    assert board.install(bundles / "two").returncode == 0
    before = laid(board)
    assert board.install(bundles / "refuses").returncode == 1
    assert (board.current, board.version("previous")) == ("2.0", "1.0")
    assert laid(board) == before
    assert board.install(bundles / "two", "--rollback").returncode == 0
    assert (board.current, board.version("previous")) == ("1.0", "2.0")


def test_a_first_version_that_does_not_stay_up_is_said_so(tmp_path: Path, bundles: Path) -> None:
    board = Board(tmp_path / "board", booted=True)
    done = board.install(bundles / "refuses")
    assert done.returncode == 1
    assert "then run it again" in done.stderr
    assert board.current == "3.0", "the settings may be wrong, and the next start the right one"


def test_a_version_that_does_not_work_here_never_becomes_current(board: Board, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bad", "4.0", check="sys.exit('Illegal instruction')")
    before = board.tree()
    done = board.install(bundle)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "does not work here, and nothing else has changed (Illegal instruction)" in done.stderr
    assert board.tree() == before
    assert "restart emotion-edge" not in (board.calls if (board.root / "run/systemd/system/calls").exists() else [])


STEPS = ["-m venv", "pip", "compileall", "touch", "daemon-reload", "previous ->", "current ->", "systemctl restart", "watching"]


def kill_at(board: Board, bundle: Path, step: str) -> bool:
    """Run install.sh and kill it, with all that it has started, when it shows a step; whether it came to that."""
    process = subprocess.Popen(
        board.command(bundle), stdout=subprocess.PIPE, text=True, env=board.environment, start_new_session=True
    )
    assert process.stdout
    timer = threading.Timer(100, process.kill)
    timer.start()
    reached = any(step in line for line in process.stdout)
    if reached:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    timer.cancel()
    return reached


def survives(board: Board, settings: str) -> None:
    """What must hold at whatever moment the power fails: a version that runs is current, and settings and unit are whole."""
    assert board.current in ("1.0", "2.0")
    assert board.config() == settings
    assert (board.root / "etc/systemd/system/emotion-edge.service").read_text() == (SYSTEMD / "emotion-edge.service").read_text()


def test_interrupted_again_and_again_it_is_completed_by_the_next_run(
    board: Board, bundles: Path, first: Board, full: bool
) -> None:
    settings = board.config('[mqtt]\nhost = "mine"\n')
    for step in STEPS if full else ["pip", "touch", "daemon-reload", "current ->", "watching"]:
        assert kill_at(board, bundles / "two", step), step
        survives(board, settings)
    done = board.install(bundles / "two")
    assert (done.returncode, done.stderr) == (0, "")
    assert (board.current, board.version("previous")) == ("2.0", "1.0")
    assert board.systemctl("is-active", "emotion-edge") == "active"
    assert not [name for name in board.tree() if name.endswith(".new")]


@pytest.mark.full
@pytest.mark.parametrize("step", STEPS)
def test_interrupted_at_any_step_the_next_run_leaves_what_an_uninterrupted_one_does(
    board: Board, bundles: Path, first: Board, tmp_path: Path, step: str
) -> None:
    other = first.copy(tmp_path / "other")
    assert other.install(bundles / "two").returncode == 0
    assert kill_at(board, bundles / "two", step)
    survives(board, board.config())
    assert board.install(bundles / "two").returncode == 0
    assert laid(board) == laid(other)
    other.systemctl("stop", "emotion-edge")


def test_a_first_installation_that_was_interrupted_is_tried_again_at_the_next_boot(tmp_path: Path, bundles: Path) -> None:
    # The first-boot unit has ConditionPathExists=!/opt/emotion-edge/current: all that a boot needs must be there before it is.
    board = Board(tmp_path / "board", booted=True)
    assert kill_at(board, bundles / "one", "current ->")
    wanted = board.root / "etc/systemd/system/multi-user.target.wants/emotion-edge.service"
    assert wanted.is_symlink() or not (board.root / "opt/emotion-edge/current").exists()
    assert (board.root / "etc/emotion-edge/config.toml").exists()
    (board.root / "etc/systemd/system/emotion-edge-setup.service").write_text("[Service]\n")
    assert board.install(bundles / "one").returncode == 0
    assert board.current == "1.0"
    # Otherwise the next boot would install it again.
    assert board.install(bundles / "one", "--uninstall").returncode == 0
    assert not (board.root / "etc/systemd/system/emotion-edge-setup.service").exists()


def test_uninstall_leaves_settings_and_events_and_purge_nothing(board: Board, bundles: Path) -> None:
    board.config('[mqtt]\nhost = "mine"\n')
    (board.root / "var/lib/emotion-edge/outbox.db").write_text("events")
    done = board.install(bundles / "one", "--uninstall")
    assert (done.returncode, done.stderr) == (0, "")
    assert "disable emotion-edge" in board.calls
    files = sorted(str(path.relative_to(board.root)) for path in board.root.rglob("*") if path.is_file())
    assert [name for name in files if not name.startswith("run/")] == [
        "etc/emotion-edge/config.toml",
        "etc/emotion-edge/mqtt-password",
        "var/lib/emotion-edge/models/face_detection_yunet_2023mar.onnx",
        "var/lib/emotion-edge/outbox.db",
    ]
    assert board.install(bundles / "one", "--purge").returncode == 0
    assert [path for path in board.root.rglob("*") if path.is_file() and "run" not in path.parts] == []


def test_two_at_a_time_are_refused(board: Board, bundles: Path) -> None:
    with subprocess.Popen(["flock", board.root / "opt/emotion-edge/.lock", "-c", "echo held; sleep 30"], stdout=-1) as holder:
        assert holder.stdout
        holder.stdout.readline()
        done = board.install(bundles / "two")
        holder.terminate()
        subprocess.run(["pkill", "-P", str(holder.pid)], check=False)
    assert (done.returncode, done.stderr) == (2, "install.sh: another install.sh is running; wait for it\n")


FULL_DISK = """
mount -t tmpfs -o size=200m,nr_inodes=$1 none "$2/opt/emotion-edge" && shift && board=$1 && shift
"$@"; echo "status $?"
find "$board/opt/emotion-edge" -name 'edge*' | wc -l
mount -o remount,nr_inodes=100000 "$board/opt/emotion-edge"
"$@" && "$board/usr/local/bin/edge-run" --version
"""


def test_a_disk_that_fills_up_leaves_nothing_half_done(tmp_path: Path, bundles: Path) -> None:
    board = Board(tmp_path / "board")
    (board.root / "opt/emotion-edge").mkdir(parents=True)
    # A file system that takes 30 files only: bytes are free, and it is full in the middle of the virtual environment.
    command = ["unshare", "-rm", "sh", "-c", FULL_DISK, "sh", "30", str(board.root), *board.command(bundles / "one")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=board.environment)
    if "unshare" in done.stderr:
        pytest.skip(f"a file system of our own is not installed here: {done.stderr.strip()}")
    assert "status 2\n0\n" in done.stdout
    assert done.stderr.count("\n") == 1
    assert "the disk is full; make room and run it again" in done.stderr
    assert done.stdout.endswith("1.0\n"), "with room, the next run completes it"


def test_a_jetson_gets_its_own_units_with_the_nodes_of_its_gpu(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", "1.0", target="orin-jp6")
    board = Board(tmp_path / "board", booted=True)
    assert "this is none" in board.install(bundle).stderr
    (board.root / "etc").mkdir()
    (board.root / "etc/nv_tegra_release").write_text("# R36\n")
    (board.root / "dev/nvgpu/igpu0").mkdir(parents=True)
    for node in ("nvmap", "nvgpu/igpu0/ctrl", "nvhost-gpu"):
        (board.root / "dev" / node).symlink_to("/dev/null")
    (board.root / "dev/nvidia-text").write_text("no node")
    done = board.install(bundle)
    assert (done.returncode, done.stderr) == (0, "")
    units = board.root / "etc/systemd/system"
    for name in ("emotion-edge", "emotion-edge-engine"):
        assert (units / f"{name}.service").read_text() == (SYSTEMD / "jetson" / f"{name}.service").read_text()
        lines = (units / f"{name}.service.d/devices.conf").read_text().splitlines()
        allowed = ["DeviceAllow=/dev/nvhost-gpu rw", "DeviceAllow=/dev/nvmap rw", "DeviceAllow=/dev/nvgpu/igpu0/ctrl rw"]
        assert lines[1:] == ["[Service]", *allowed]
    restarts = [call for call in board.calls if call.startswith("restart")]
    assert restarts == ["restart emotion-edge-engine", "restart emotion-edge"], "the engine first"

    (board.root / "dev/nvidia0").symlink_to("/dev/null")
    (units / "emotion-edge.service.d/mine.conf").write_text("[Service]\nNice=1\n")
    assert board.install(bundle).returncode == 0
    assert "/dev/nvidia0" in (units / "emotion-edge.service.d/devices.conf").read_text()
    assert board.install(bundle, "--uninstall").returncode == 0
    left = [str(path.relative_to(units)) for path in units.rglob("*") if path.is_file()]
    assert left == ["emotion-edge.service.d/mine.conf"], "what is its owner's stays"


def test_a_bundle_brings_the_python_that_the_board_has_not(tmp_path: Path) -> None:
    (tmp_path / "python3").symlink_to(Path(sys.executable).resolve())
    bundle = make_bundle(tmp_path / "bundle", "1.0", interpreter=tmp_path / "python3", python="3.99")
    board = Board(tmp_path / "board")
    done = board.install(bundle)
    assert (done.returncode, done.stderr) == (0, "")
    assert board.current == "1.0"
    settings = (board.root / "opt/emotion-edge/current/venv/pyvenv.cfg").read_text()
    assert (board.root / "opt/emotion-edge/current/python/bin/python3").exists()
    assert "/python/bin" in settings


def test_from_a_wheel_and_a_folder_of_packages(tmp_path: Path) -> None:
    board = Board(tmp_path / "board")
    wheel = make_wheel(tmp_path / "wheels", "5.0")
    done = board.install(SYSTEMD / "install.sh", "--from", wheel, "--wheels", tmp_path / "wheels")
    assert (done.returncode, done.stderr) == (0, "")
    assert (board.current, board.version("current")) == ("5.0", "5.0")
    before = board.tree()
    assert board.install(SYSTEMD / "install.sh", "--from", wheel, "--wheels", tmp_path / "wheels").returncode == 0
    assert board.tree() == before


@pytest.mark.full
def test_from_this_checkout(tmp_path: Path) -> None:
    board = Board(tmp_path / "board")
    done = subprocess.run(
        board.command(SYSTEMD / "install.sh"), capture_output=True, text=True, timeout=900, env=board.environment
    )
    assert done.returncode == 0, done.stderr
    program = board.root / "usr/local/bin/edge-run"
    assert subprocess.run([program, "--check"], capture_output=True, text=True, timeout=60, cwd=tmp_path).returncode == 0
    packages = {path.name for path in (board.root / "opt/emotion-edge/current/venv/lib").glob("python*/site-packages/*")}
    assert {"edge", "cv2", "numpy"} <= packages
    assert not packages & {"tensorflow", "keras"}
    assert not (board.root / "usr/local/bin/edge-train").exists()
