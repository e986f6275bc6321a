"""What install.sh does not take: one sentence, exit status 2, and nothing touched."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from installing import PYTHON, SYSTEMD, Board, make_bundle, seal


def flip(bundle: Path) -> None:
    wheel = next((bundle / "wheels").iterdir())
    content = bytearray(wheel.read_bytes())
    content[100] ^= 1
    wheel.write_bytes(content)


def flip_the_installers_neighbour(bundle: Path) -> None:
    (bundle / "systemd/emotion-edge.service").write_text("[Service]\nUser=root\n")


def lose(bundle: Path) -> None:
    next((bundle / "wheels").iterdir()).unlink()


def add(bundle: Path) -> None:
    (bundle / "wheels/other-1.0-py3-none-any.whl").write_bytes(b"")


def cut(bundle: Path) -> None:
    (bundle / "bundle.json").write_bytes((bundle / "bundle.json").read_bytes()[:-40])


def strip(bundle: Path) -> None:
    (bundle / "bundle.json").write_text('{"format": 1, "files": []}')


def escape(bundle: Path) -> None:
    facts = json.loads((bundle / "bundle.json").read_text())
    facts["files"]["../outside"] = {"sha256": "0" * 64, "bytes": 0}
    (bundle / "bundle.json").write_text(json.dumps(facts))
    (bundle.parent / "outside").write_text("")


def link(bundle: Path) -> None:
    place = bundle / "models/model.tflite"
    content = place.read_bytes()
    (bundle.parent / "elsewhere").write_bytes(content)
    place.unlink()
    place.symlink_to(bundle.parent / "elsewhere")


def say(**facts: object) -> Callable[[Path], None]:
    return lambda bundle: seal(bundle, **facts)


DAMAGES = [
    (flip, "is damaged: its sha256 is not the one in bundle.json"),
    (flip_the_installers_neighbour, "systemd/emotion-edge.service is damaged"),
    (lose, "cannot be read (No such file or directory)"),
    (add, "wheels/other-1.0-py3-none-any.whl does not belong to this bundle"),
    (cut, "bundle.json cannot be read"),
    (strip, "bundle.json cannot be read"),
    (escape, "is no plain file of the bundle"),
    (link, "models/model.tflite in bundle.json is no plain file"),
    (say(format=2), "of format 2"),
    (say(machine="riscv64"), "the bundle is for riscv64, 64-bit (pi-bookworm64), and this system is "),
    (say(glibc="99.1"), "the bundle needs glibc 99.1"),
    (say(glibc="$(touch x)"), "bundle.json has no proper glibc"),
    (say(version="1.0/../../x"), "bundle.json has no proper version"),
    (say(python="3.6"), "Python 3.6, 64-bit, is needed"),
    (say(target="jetson-nano"), "the bundle is for a Jetson (jetson-nano), and this is none"),
    (say(installed_bytes=10**15), "make room and run it again"),
]


@pytest.mark.parametrize(("damage", "sentence"), DAMAGES, ids=[sentence[:40] for _, sentence in DAMAGES])
def test_an_unusable_bundle_is_refused_before_anything_is_touched(
    tmp_path: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    bundle = make_bundle(tmp_path / "bundle", "1.0")
    damage(bundle)
    board = Board(tmp_path / "board", booted=True)
    before = board.tree()
    done = board.install(bundle)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("install.sh: ")
    assert sentence in done.stderr
    assert board.tree() == before
    assert not (board.root / "run/systemd/system/calls").exists()


def test_the_same_bundle_undamaged_is_taken(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", "1.0")
    seal(bundle, python=PYTHON)
    assert Board(tmp_path / "board").install(bundle, "--dry-run").returncode == 0


def test_a_bundle_for_a_pi_is_refused_on_a_jetson(tmp_path: Path) -> None:
    board = Board(tmp_path / "board")
    (board.root / "etc").mkdir()
    (board.root / "etc/nv_tegra_release").write_text("# R36\n")
    done = board.install(make_bundle(tmp_path / "bundle", "1.0"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "this is a Jetson" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--frm", "x"],
        ["--from"],
        ["--from", "/nowhere.whl"],
        ["--from", "/etc"],
        ["--from", "/etc/passwd"],
        ["--wheels", "/nowhere"],
        ["--patience", "soon"],
        ["--patience", "0"],
        ["--rollback"],
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, arguments: list[str]) -> None:
    board = Board(tmp_path / "board")
    done = board.install(SYSTEMD / "install.sh", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("install.sh: ")
    assert done.stderr.count("\n") == 1
    assert list(board.root.iterdir()) == []


def test_a_python_that_is_named_and_unfit_is_not_replaced_by_another(tmp_path: Path) -> None:
    board = Board(tmp_path / "board")
    board.environment["PYTHON"] = "/bin/false"
    assert "Python" in board.install(make_bundle(tmp_path / "bundle", "1.0")).stderr
    assert list(board.root.iterdir()) == []


@pytest.mark.parametrize("shell", ["dash", "bash --posix", "busybox sh"])
def test_the_script_is_plain_sh(shell: str) -> None:
    try:
        done = subprocess.run([*shell.split(), "-n", SYSTEMD / "install.sh"], capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        pytest.skip(f"{shell} is not installed")
    assert (done.returncode, done.stderr) == (0, "")


def test_shellcheck_has_nothing_to_say() -> None:
    try:
        done = subprocess.run(["shellcheck", "-s", "sh", SYSTEMD / "install.sh"], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("shellcheck is not installed")
    assert done.stdout == ""
