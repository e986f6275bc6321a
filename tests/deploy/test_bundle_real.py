"""The packages that boards really get: downloaded, linted, packed and, for a Pi, installed into a folder and weighed."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from deploying import MODEL, ROOT, elf

from converters.deploy.bundle import Request, build
from converters.deploy.interpreter import Interpreter
from converters.deploy.lint import lint_wheel
from converters.deploy.targets import TARGETS
from converters.deploy.verify import unpack, verify
from converters.deploy.wheels import platform_options

pytestmark = pytest.mark.full


@pytest.mark.parametrize("name", TARGETS)
def test_a_bundle_for_each_board_builds_and_loads_there(name: str, tmp_path: Path) -> None:
    target, python = TARGETS[name], None
    if target.interpreter:
        # A stand-in: the real one is known by its hash alone.
        python = tmp_path / "python.tar.gz"
        with tarfile.open(python, "w:gz") as file:
            member = tarfile.TarInfo("python/bin/python3.10")
            member.size = len(elf())
            file.addfile(member, io.BytesIO(elf()))
        digest = hashlib.sha256(python.read_bytes()).hexdigest()
        target = dataclasses.replace(target, interpreter=Interpreter(python.name, "http://127.0.0.1:9/", digest, "none"))
    output = tmp_path / "b.tar.xz"
    outcome = build(Request(target, MODEL, output, ROOT, weights=None, python=python))
    print(
        f"{name}: {(outcome.size or 0) / 1e6:.1f} MB, installed {outcome.bundle.installed_bytes / 1e6:.0f} MB, {outcome.largest}"
    )
    assert outcome.breaches == ()
    assert verify(output) == outcome.bundle


def test_the_installed_size_is_what_a_card_loses(tmp_path: Path) -> None:
    target = TARGETS["pi-bookworm64"]
    build(Request(target, MODEL, tmp_path / "b.tar.xz", ROOT, weights=None))
    bundle = unpack(tmp_path / "b.tar.xz", tmp_path / "there")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--require-hashes",
        "-r",
        "requirements.txt",
    ]
    pip += ["--find-links", "wheels", "--target", "site", *platform_options(target)]
    subprocess.run(pip, cwd=tmp_path / "there", check=True, timeout=600)
    used = sum(path.lstat().st_blocks * 512 for path in (tmp_path / "there" / "site").rglob("*"))
    print(f"told {bundle.installed_bytes / 1e6:.1f} MB, taken {used / 1e6:.1f} MB")
    assert bundle.installed_bytes == pytest.approx(used, rel=0.03)


def test_a_tag_that_lies_is_caught(tmp_path: Path) -> None:
    """ai-edge-litert's own wheel says glibc 2.27, which the original Nano has; its library needs 2.34."""
    nano = TARGETS["jetson-nano"]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(tmp_path), *platform_options(nano)]
    subprocess.run([*pip, "ai-edge-litert==2.3.0"], check=True, timeout=600)
    [path] = tmp_path.glob("*.whl")
    assert "manylinux_2_27" in path.name
    assert any("needs GLIBC_2.34 of libc.so.6, jetson-nano has GLIBC_2.27" in breach for breach in lint_wheel(path, nano))
    assert lint_wheel(path, TARGETS["orin-jp6"]) == []
