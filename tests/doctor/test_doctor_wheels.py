"""edge-doctor and the packages: what a shared object asks of glibc is read from the file itself, whatever its wheel says."""

from __future__ import annotations

import contextlib
import importlib.util
import struct
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import ModelSettings, ServiceSettings, Settings, UpdateSettings
from edge.doctor import wheels
from edge.doctor.elf import glibc_needed, numbers, parse, version_needs
from edge.doctor.examine import TOPICS
from edge.doctor.wheels import METRICS, ONNX, PACKAGES, TFLITE, UPDATE, Package, examine, newest_glibc

ROOT = Path(__file__).resolve().parents[2]


def elf(needs: dict[str, list[str]], bits: int = 64, order: str = "<") -> bytes:
    """A shared object that has nothing but a header, names, and the version needs of some libraries."""
    names, at = b"\0", {}
    for name in dict.fromkeys([*needs, *(version for versions in needs.values() for version in versions)]):
        at[name] = len(names)
        names += name.encode() + b"\0"
    table = b""
    for number, (library, versions) in enumerate(needs.items(), 1):
        last = number == len(needs)
        table += struct.pack(order + "HHIII", 1, len(versions), at[library], 16, 0 if last else 16 + 16 * len(versions))
        for index, version in enumerate(versions, 1):
            table += struct.pack(order + "IHHII", 0, 0, 2, at[version], 0 if index == len(versions) else 16)
    header, entry = (64, 64) if bits == 64 else (52, 40)
    place = header + len(names) + len(table)
    word = "Q" if bits == 64 else "I"
    ident = b"\x7fELF" + bytes([bits // 32, 1 if order == "<" else 2, 1]) + bytes(9)
    rest = struct.pack(f"{order}HHI{word * 3}IHHHHHH", 3, 62, 1, 0, 0, place, 0, header, 0, 0, entry, 3, 0)

    def section(kind: int, offset: int, size: int, link: int = 0, info: int = 0) -> bytes:
        return struct.pack(f"{order}II{word * 4}II{word * 2}", 0, kind, 0, 0, offset, size, link, info, 0, 0)

    sections = section(0, 0, 0) + section(3, header, len(names))
    sections += section(0x6FFFFFFE, header + len(names), len(table), link=1, info=len(needs))
    return ident + rest + names + table + sections


NEEDS = {"libc.so.6": ["GLIBC_2.17", "GLIBC_2.34", "GLIBC_2.4"], "libm.so.6": ["GLIBC_2.29"], "libx.so": ["X_9.9"]}


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_version_needs_are_read_in_every_class_and_byte_order(tmp_path: Path, bits: int, order: str) -> None:
    file = tmp_path / "some.so"
    file.write_bytes(elf(NEEDS, bits, order))
    assert version_needs(file) == {library: set(versions) for library, versions in NEEDS.items()}
    # 2.34 is newer than 2.4, and another library's 9.9 is no glibc.
    assert glibc_needed(file) == (2, 34)


def test_the_needs_of_a_real_extension_are_met_here_because_it_has_been_loaded() -> None:
    extension = importlib.util.find_spec("msgspec._core")
    assert extension is not None
    assert extension.origin is not None
    needs = version_needs(Path(extension.origin))
    assert any(version.startswith("GLIBC_") for version in needs["libc.so.6"])
    assert () < glibc_needed(Path(extension.origin)) <= wheels.glibc()


GOOD = elf(NEEDS)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(lambda at, by: GOOD[:at] + by + GOOD[at + len(by) :], st.integers(0, len(GOOD)), st.binary(max_size=8)),
    )
)
def test_a_damaged_file_is_one_error(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        parse(content)


def test_cut_files_are_refused(tmp_path: Path) -> None:
    for length in (0, 3, 4, 40, 100, len(GOOD) - 20):
        (tmp_path / "cut.so").write_bytes(GOOD[:length])
        with pytest.raises(ValueError, match="ELF"):
            version_needs(tmp_path / "cut.so")


@pytest.mark.parametrize(
    ("text", "expected"), [("2.34", (2, 34)), ("2.2.5", (2, 2, 5)), ("PRIVATE", ()), ("ABI_DT_RELR", ()), ("", ())]
)
def test_versions(text: str, expected: tuple[int, ...]) -> None:
    assert numbers(text) == expected


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, before all others."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def install(site: Path, name: str, version: str, code: str = "", needs: str = "2.17") -> Package:
    """Install a package with one module and one shared object, as a wheel does."""
    (site / name).mkdir()
    (site / name / "__init__.py").write_text(code)
    (site / name / "library.so").write_bytes(elf({"libc.so.6": [f"GLIBC_{needs}"]}))
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text(f"{name}/__init__.py,,\n{name}/library.so,,\n")
    return Package(name, name, "1.2", "3")


@pytest.mark.parametrize(
    ("version", "needs", "code", "verdict", "told"),
    [
        ("1.2", "2.17", "", "good", "1.2, needs glibc 2.17"),
        ("1.10.0.4", "2.17", "", "good", "1.10.0.4"),
        ("1.1", "2.17", "", "broken", "1.1 is installed, thing>=1.2,<3 is needed"),
        ("3.0rc1", "2.17", "", "broken", "is needed"),
        ("2.0", "2.99", "", "broken", "2.0 needs glibc 2.99 (library.so), this system has 2."),
        ("2.0", "2.17", "raise ImportError('libGL.so.1: cannot open shared object file')", "broken", "libGL.so.1: cannot open"),
        ("2.0", "2.17", "import os, signal; os.kill(os.getpid(), signal.SIGILL)", "broken", "other instructions (SIGILL)"),
        ("2.0", "2.17", "import os; os.abort()", "broken", "SIGABRT"),
    ],
)
def test_a_package_is_held_against_this_system(site: Path, version: str, needs: str, code: str, verdict: str, told: str) -> None:
    found = examine(install(site, "thing", version, code, needs), needed=True)
    assert found.verdict == verdict
    assert told in found.text
    assert (found.remedy is None) == (verdict == "good")


def test_a_package_without_metadata_is_looked_at_in_its_own_folder(site: Path) -> None:
    package = install(site, "bare", "2.0", needs="2.99")
    assert newest_glibc(wheels.shared_objects(package)) == ((2, 99), "library.so")
    for file in (site / "bare-2.0.dist-info").iterdir():
        file.unlink()
    (site / "bare-2.0.dist-info").rmdir()
    assert newest_glibc(wheels.shared_objects(package)) == ((2, 99), "library.so")
    assert examine(package, needed=True).verdict == "broken"


def test_what_is_not_installed_is_broken_only_where_it_is_needed() -> None:
    package = Package("no-such-package-anywhere", "no_such_package_anywhere", "1")
    assert examine(package, needed=True).verdict == "broken"
    assert examine(package, needed=False).verdict == "skipped"


def test_everything_here_is_good_and_extras_are_asked_for_by_the_settings() -> None:
    settings = Settings(
        model=ModelSettings(path="some.onnx"),
        service=ServiceSettings(metrics_port=9100),
        update=UpdateSettings(key_file="owner.pub"),
    )
    found = {finding.name: finding for finding in wheels.check(settings)}
    missing = {f"wheels.{package.name}" for package in (ONNX, METRICS, UPDATE) if not wheels.installed(package)}
    assert {name for name, finding in found.items() if finding.verdict != "good"} == missing, found
    asked = {f"wheels.{package.name}" for package in (ONNX, METRICS, UPDATE)}
    assert {"wheels.system", "wheels.numpy", *asked} <= set(found)
    assert "wheels.cryptography" not in {finding.name for finding in wheels.check(Settings())}
    assert "glibc 2." in found["wheels.numpy"].text or not wheels.glibc()


def test_the_versions_are_those_of_the_project() -> None:
    project = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["project"]
    extras = project["optional-dependencies"]
    for package in (*PACKAGES, *TFLITE, ONNX, METRICS, UPDATE):
        written = extras[package.extra] if package.extra else project["dependencies"]
        assert package.requirement.strip("'") in written, package.name


def test_the_doctor_itself_loads_nobodys_machine_code() -> None:
    """Else a wheel for another processor would end it before it could say so."""
    modules = ", ".join(f"edge.doctor.{topic.name}" for topic in TOPICS if not topic.own_process)
    code = f"import sys, edge.cli.doctor, {modules}; print(*({{'numpy', 'cv2', 'paho'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""
