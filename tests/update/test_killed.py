"""SIGKILL at any moment of an update leaves one valid slot, and the next update goes through."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from model_packages import Owner

from edge.config import Settings, UpdateSettings
from edge.errors import EmotionEdgeError
from edge.update.slots import Slots
from edge.update.updates import Updates

TESTS = Path(__file__).resolve().parents[1]
CHILD = [sys.executable, str(TESTS / "update_child.py")]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}


class Children:
    """Processes that push one package after the other, forked from one that has imported everything."""

    def __init__(self, owner: Owner, folder: Path, *how: str) -> None:
        command = [*CHILD, str(owner.private), str(folder), *how]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(), bufsize=1
        )
        assert self._read() == "ready"

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def run(self, folder: Path, die_at: int, kill_after: float | None = None) -> tuple[int, int]:
        """Let one push; returns its exit status, and how many operations it has counted if it came to its end."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{folder} {die_at}\n")
        operations = 0
        while not (line := self._read()).startswith("ended"):
            assert line, "the child has died"
            if line.startswith("pid") and kill_after is not None:
                time.sleep(kill_after)
                os.kill(int(line.split()[1]), signal.SIGKILL)
            elif line.startswith("operations"):
                operations = int(line.split()[1])
        return int(line.split()[1]), operations

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@contextmanager
def children(owner: Owner, folder: Path, *how: str) -> Iterator[Children]:
    made = Children(owner, folder, *how)
    try:
        yield made
    finally:
        made.close()


def counter_that_runs(owner: Owner, folder: Path) -> int:
    """What a device would run that starts now; 0 when it is not what its pointer names."""
    pointer = Slots(folder, owner.key.public_key()).pointer
    settings = UpdateSettings(str(owner.public))
    try:
        assert pointer.committed is not None
        Slots(folder, owner.key.public_key()).model(pointer.committed)
        version = Updates(settings, folder).open(Settings()).models.classifier.manifest.version
    except EmotionEdgeError:
        return 0
    return pointer.counter if version == f"1.{pointer.counter}" else 0


def test_killed_before_any_operation_on_a_file_the_old_model_or_the_new_one_runs(owner: Owner, tmp_path: Path) -> None:
    with children(owner, tmp_path / "made") as pushing:
        # Two updates, so that the third has a slot to empty.
        for _ in range(2):
            assert pushing.run(tmp_path / "first", 0)[0] == 0
        shutil.copytree(tmp_path / "first", tmp_path / "counted")
        status, operations = pushing.run(tmp_path / "counted", 0)
        assert status == 0
        assert operations > 20, "this is what is killed"
        found = []
        for number in range(1, operations + 1):
            folder = tmp_path / f"killed-{number}"
            shutil.copytree(tmp_path / "first", folder)
            assert pushing.run(folder, number)[0] == -signal.SIGKILL
            found.append(counter_that_runs(owner, folder))
            if number % 8 == 0:
                assert pushing.run(folder, 0)[0] == 0, "the next update goes through"
                assert counter_that_runs(owner, folder) == found[-1] + 1
        assert set(found) == {2, 3}, found
        assert found == sorted(found), "once the new one is kept it stays"


def test_with_the_pointer_first_it_would_not_be_so(owner: Owner, tmp_path: Path) -> None:
    with children(owner, tmp_path / "made") as pushing:
        assert pushing.run(tmp_path / "first", 0)[0] == 0
    with children(owner, tmp_path / "made", "hasty") as pushing:
        found = []
        for number in range(4, 30, 3):
            folder = tmp_path / f"killed-{number}"
            shutil.copytree(tmp_path / "first", folder)
            pushing.run(folder, number)
            found.append(counter_that_runs(owner, folder))
    assert 0 in found, "a pointer to a slot that is not whole"


def test_killed_at_random_moments_over_and_over_the_counter_only_grows(owner: Owner, tmp_path: Path, full: bool) -> None:
    dice, before = random.Random(6), 0
    with children(owner, tmp_path / "made") as pushing:
        assert pushing.run(tmp_path / "models", 0)[0] == 0
        for _ in range(500 if full else 25):
            status, _ = pushing.run(tmp_path / "models", -1, kill_after=dice.uniform(0.0, 0.4))
            assert status == -signal.SIGKILL
            after = counter_that_runs(owner, tmp_path / "models")
            assert after >= max(1, before)
            before = after
    assert before > 3, "updates did go through between the kills"


@pytest.mark.parametrize("how", ["as it is", "unsynced"])
def test_what_the_pointer_names_is_on_disk_before_it_is_named(owner: Owner, tmp_path: Path, how: str) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    log, folder = tmp_path / "trace", tmp_path / "models"
    command = ["strace", "-f", "-y", "-o", str(log), "-e", "trace=fsync,rename,renameat,renameat2", *CHILD]
    done = subprocess.run(
        [*command, str(owner.private), str(tmp_path / "made"), how],
        input=f"{folder} 0\n",
        text=True,
        env=environment(),
        timeout=120,
    )
    assert done.returncode == 0
    calls = [line.split(maxsplit=1)[1] for line in log.read_text().splitlines() if str(folder) in line]
    pointers = [number for number, call in enumerate(calls) if call.startswith("rename")]
    assert len(pointers) == 2, "to the trial, and to what is kept"
    synced = [re.search(r"<(.*)>", call)[1] for call in calls[: pointers[0]] if call.startswith("fsync")]  # type: ignore[index]
    named = [*(folder / "a").iterdir(), folder / "a", folder, folder / "pointer.new"]
    missing = [path.name for path in named if str(path) not in synced]
    if how == "unsynced":
        assert len(missing) == len(named)
        return
    assert missing == []
    after = [call for call in calls[pointers[0] :] if call.startswith("fsync")]
    assert f"<{folder}>" in after[0], "and the name itself at once"
