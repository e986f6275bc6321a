"""A lock holds what the board needs, not what this machine would: pip's choice, under the board's Python and markers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from deploying import ROOT, wheel
from packaging.requirements import Requirement

from converters.cli.bundle import main
from converters.deploy.lock import lock_path, project_requirements, read_lock, resolve, wanted, write_lock
from converters.deploy.targets import TARGETS
from edge.errors import DeployError


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip takes for its only index."""
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(tmp_path / "index")), ("PIP_CONFIG_FILE", "/dev/null")):
        monkeypatch.setenv(name, value)
    return tmp_path / "index"


@pytest.mark.parametrize("name", TARGETS)
def test_the_committed_lock_covers_what_the_project_asks_for(name: str) -> None:
    """A new dependency without a new lock fails here: edge-bundle --lock --target NAME."""
    target = TARGETS[name]
    pins = read_lock(lock_path(target))
    for requirement in wanted(project_requirements(ROOT, target), target):
        assert requirement.specifier.contains(pins[requirement.name].version), requirement
    assert not set(pins) & set(target.without)
    assert all(len(pin.hashes) == 1 for pin in pins.values())


def test_markers_are_the_boards(index: Path) -> None:
    """Dependencies of the Pythons on both sides of this one's; pip alone would take this machine's."""
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    requires = ("old; python_version < '3.11'", "new; python_version > '3.12'", f"mine; python_version == '{here}'")
    wheel(
        index,
        "root-1.0-py3-none-any.whl",
        {},
        (*requires, "arm; platform_machine == 'aarch64'", "pc; platform_machine == 'x86_64'"),
    )
    for name in ("old", "new", "mine", "arm", "pc"):
        wheel(index, f"{name}-1.0-py3-none-any.whl", {})

    def names(target: str) -> set[str]:
        return {pin.name for pin in resolve(TARGETS[target], [Requirement("root")])}

    mine = {target: {"mine"} if TARGETS[target].python == here else set() for target in TARGETS}
    assert names("orin-jp6") == {"root", "old", "arm"} | mine["orin-jp6"]
    assert names("pi-bookworm64") == {"root", "arm"} | mine["pi-bookworm64"]
    assert names("pi-trixie64") == {"root", "new", "arm"} | mine["pi-trixie64"]


def test_the_newest_wheel_that_the_board_can_take_is_taken(index: Path, tmp_path: Path) -> None:
    for version, tag in (("1.0", "manylinux_2_17"), ("2.0", "manylinux_2_35"), ("3.0", "manylinux_2_40")):
        for machine in ("aarch64", "x86_64"):
            for abi in ("cp310", "cp311", "cp313"):
                wheel(index, f"a-{version}-{abi}-{abi}-{tag}_{machine}.whl", {"a.py": f"{version} {abi} {machine}".encode()})
    chosen = {}
    for name in ("jetson-nano", "pi-bookworm64", "pi-trixie64"):
        [pin] = resolve(TARGETS[name], [Requirement("a")])
        chosen[name] = pin.file
        write_lock(tmp_path / name, TARGETS[name], [pin])
        assert next(iter(read_lock(tmp_path / name).values())).text == pin.text
    assert chosen == {
        "jetson-nano": "a-1.0-cp310-cp310-manylinux_2_17_aarch64.whl",
        "pi-bookworm64": "a-2.0-cp311-cp311-manylinux_2_35_aarch64.whl",
        "pi-trixie64": "a-3.0-cp313-cp313-manylinux_2_40_aarch64.whl",
    }


def test_a_lock_of_ones_own_is_not_replaced_without_being_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "lock.txt"
    mine.write_text("mine")
    assert main(["--lock", "--target", "pi-bookworm64", "-o", str(mine)]) == 2
    assert "add --force to replace it" in capsys.readouterr().err
    assert mine.read_text() == "mine"


def test_what_cannot_be_resolved_is_said_in_one_line(index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index.mkdir()
    assert main(["--lock", "--target", "pi-bookworm64", "-o", str(tmp_path / "lock.txt")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("edge-bundle: pip download failed: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "lock.txt").exists()
    with pytest.raises(DeployError, match="edge-bundle --lock writes it"):
        read_lock(tmp_path / "lock.txt")
