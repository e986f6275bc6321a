"""What a shared object needs is read from itself and held against the board, whatever the wheel's name promises."""

from __future__ import annotations

import dataclasses
import platform
from pathlib import Path

import numpy as np
import pytest
from deploying import AARCH64, X86_64, Needs, elf, wheel

from converters.deploy.lint import lint, lint_wheel
from converters.deploy.targets import TARGETS
from edge.doctor.elf import parse, version_needs

BOOKWORM, NANO = TARGETS["pi-bookworm64"], TARGETS["jetson-nano"]


@pytest.mark.parametrize(
    ("needs", "target", "told"),
    [
        ({"libc.so.6": ["GLIBC_2.17", "GLIBC_2.99"]}, BOOKWORM, "needs GLIBC_2.99 of libc.so.6, pi-bookworm64 has GLIBC_2.36"),
        ({"libm.so.6": ["GLIBC_2.37"]}, BOOKWORM, "needs GLIBC_2.37 of libm.so.6"),
        ({"libc.so.6": ["GLIBC_2.34"]}, NANO, "needs GLIBC_2.34 of libc.so.6, jetson-nano has GLIBC_2.27"),
        (
            {"libstdc++.so.6": ["GLIBCXX_3.4.31"]},
            BOOKWORM,
            "needs GLIBCXX_3.4.31 of libstdc++.so.6, pi-bookworm64 has GLIBCXX_3.4.30",
        ),
        (
            {"libstdc++.so.6": ["CXXABI_1.3.14"]},
            BOOKWORM,
            "needs CXXABI_1.3.14 of libstdc++.so.6, pi-bookworm64 has CXXABI_1.3.13",
        ),
        ({"libc.so.6": ["GLIBC_ABI_DT_RELR"]}, NANO, "needs GLIBC_ABI_DT_RELR"),
        ({"libc.so.6": ["GLIBC_PRIVATE"]}, BOOKWORM, "needs GLIBC_PRIVATE"),
        ({"libGL.so.1": []}, BOOKWORM, "needs libGL.so.1, which neither the wheel nor the system of pi-bookworm64 has"),
    ],
)
def test_a_need_that_the_board_does_not_meet_is_named(needs: Needs, target: object, told: str) -> None:
    [breach] = lint([("numpy/core.so", elf(needs))], target)
    assert breach.startswith("numpy/core.so ")
    assert told in breach


@pytest.mark.parametrize(
    "needs",
    [
        {},
        {"libc.so.6": ["GLIBC_2.17", "GLIBC_2.36", "GLIBC_ABI_DT_RELR"], "libstdc++.so.6": ["GLIBCXX_3.4.30", "CXXABI_TM_1"]},
        {"libz.so.1": ["ZLIB_1.2.3.4"], "libgcc_s.so.1": ["GCC_4.5.0"]},
    ],
)
def test_what_the_board_has_passes(needs: Needs) -> None:
    assert lint([("core.so", elf(needs))], BOOKWORM) == []


def test_a_library_that_the_wheel_brings_is_not_the_boards() -> None:
    needs = {"libstdc++-1a2b.so.6": ["GLIBCXX_3.4.99"]}
    assert lint([("a/core.so", elf(needs)), ("a.libs/libstdc++-1a2b.so.6", elf())], BOOKWORM) == []
    assert len(lint([("a/core.so", elf(needs))], BOOKWORM)) == 2


@pytest.mark.parametrize("name", TARGETS)
def test_each_target_takes_its_own_versions_and_no_newer(name: str) -> None:
    target = TARGETS[name]
    for prefix, version in target.versions.items():
        *front, last = version.split(".")
        newer = ".".join([*front, str(int(last) + 1)])
        assert lint([("a.so", elf({"libc.so.6": [f"{prefix}_{version}"]}))], target) == []
        assert len(lint([("a.so", elf({"libc.so.6": [f"{prefix}_{newer}"]}))], target)) == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (elf(machine=X86_64), "is for x86-64"),
        (elf({"libc.so.6": ["GLIBC_2.17"]})[:-200], "is damaged"),
        (elf()[:20], "is damaged"),
        (elf(sections=False), "has no section headers"),
    ],
)
def test_what_cannot_be_read_does_not_pass(content: bytes, told: str) -> None:
    [breach] = lint([("a.so", content)], BOOKWORM)
    assert told in breach


def test_objects_are_known_by_their_content_not_their_name(tmp_path: Path) -> None:
    hidden = wheel(tmp_path, "a-1-py3-none-any.whl", {"a/data.bin": elf({"libc.so.6": ["GLIBC_2.99"]}), "a/text.so": b"INPUT(b)"})
    [breach] = lint_wheel(hidden, BOOKWORM)
    assert breach.startswith("a-1-py3-none-any.whl: a/data.bin needs GLIBC_2.99")


def test_a_wheel_whose_content_is_damaged_does_not_pass(tmp_path: Path) -> None:
    path = wheel(tmp_path, "a-1-py3-none-any.whl", {"a.py": b"x = 'here'"})
    path.write_bytes(path.read_bytes().replace(b"'here'", b"'her3'", 1))
    [breach] = lint_wheel(path, BOOKWORM)
    assert breach.startswith("a-1-py3-none-any.whl: cannot be read to its end (Bad CRC-32")


def test_the_reader_on_the_board_and_this_one_see_the_same(tmp_path: Path) -> None:
    """Two independent readers, on our own bytes and on what a compiler made."""
    needs = {"libc.so.6": ["GLIBC_2.17", "GLIBC_2.99"], "libdl.so.2": [], "libm.so.6": ["GLIBC_2.27"]}
    assert parse(elf(needs, AARCH64)) == {name: set(versions) for name, versions in needs.items() if versions}
    real = next(Path(np.__file__).parent.rglob("_multiarray_umath*.so"))
    newest = max(int(v.rpartition(".")[2]) for group in version_needs(real).values() for v in group if v.startswith("GLIBC_2."))
    old = dataclasses.replace(BOOKWORM, glibc=f"2.{newest - 1}")
    found = lint([("core.so", real.read_bytes())], old)
    if platform.machine() == "x86_64":
        assert found == ["core.so is for x86-64, pi-bookworm64 is aarch64"]
        # The same bytes with the other processor's number: what it needs is then looked at.
        found = lint([("core.so", real.read_bytes()[:18] + AARCH64.to_bytes(2, "little") + real.read_bytes()[20:])], old)
    assert any(f"needs GLIBC_2.{newest} " in breach for breach in found)
