"""What was killed, or is written by somebody else, is never taken for done, and the next run completes it."""

from __future__ import annotations

import fcntl
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deploying import ROOT
from flashing import (
    BOOTS,
    DONE,
    ENVIRONMENT,
    MEGABYTE,
    boot_of,
    digest,
    make_image,
    make_root,
    only_root,
    root_offset,
    run,
    superblock,
    tree,
    tree_of,
)

from converters.cli.flash import main

# How often debugfs is killed, and how often at most until it was in its very writing.
KILLS, MOST_KILLS = 3, 60

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
