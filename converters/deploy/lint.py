"""What every shared object of a wheel asks of a board, read from its own file: a wheel's tag may promise too much, this cannot.

The loader refuses a library by these very entries (section .gnu.version_r; Linux Standard Base, symbol versioning).
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from converters.deploy.targets import SYSTEM_LIBRARIES, Target
from edge.doctor.elf import MAGIC, numbers
from edge.errors import first_line

MACHINES = {"EM_AARCH64": "aarch64", "EM_X86_64": "x86-64", "EM_ARM": "32-bit ARM", "EM_386": "32-bit x86"}
# Version names without a number: since which version of the library it defines them (glibc's and libstdc++'s own lists).
NAMED = {"GLIBC_ABI_DT_RELR": "2.36", "CXXABI_TM_1": "1.3.5"}


def lint_wheel(wheel: Path, target: Target) -> list[str]:
    """What keeps a wheel's machine code from loading on a board; nothing when it loads."""
    objects = []
    try:
        with zipfile.ZipFile(wheel) as file:
            for member in file.infolist():
                content = file.read(member)
                if content.startswith(MAGIC):
                    objects.append((member.filename, content))
    # The last two: packed in a way that zipfile, and so pip, cannot undo.
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        return [f"{wheel.name}: cannot be read to its end ({first_line(error)})"]
    return [f"{wheel.name}: {breach}" for breach in lint(objects, target)]


def lint(objects: Iterable[tuple[str, bytes]], target: Target) -> list[str]:
    """What keeps machine code that is installed together from loading on a board.

    Args:
        objects: name and content of each ELF file.

    Returns:
        A sentence for each need that the board does not meet: library, need, and what the board has.
    """
    breaches = []
    opened = []
    for name, content in objects:
        try:
            opened.append((name, ELFFile(io.BytesIO(content))))
        except (ELFError, ConstructError) as error:
            breaches.append(f"{name} is damaged ({error})")
    brought = {PurePosixPath(name).name for name, _ in opened}
    for name, elf in opened:
        try:
            breaches += [f"{name} {breach}" for breach in _examine(elf, brought, target)]
        except (ELFError, ConstructError, UnicodeDecodeError, ValueError) as error:
            breaches.append(f"{name} is damaged ({error})")
    return breaches


def _examine(elf: ELFFile, brought: set[str], target: Target) -> Iterable[str]:
    machine = elf["e_machine"]
    if machine != "EM_AARCH64" or elf.elfclass != 64:
        yield f"is for {MACHINES.get(machine, machine)}, {target.name} is aarch64"
        return
    if not elf.num_sections():
        yield "has no section headers, so what it needs cannot be read"
    for section in elf.iter_sections():
        if isinstance(section, DynamicSection):
            for tag in section.iter_tags("DT_NEEDED"):
                if tag.needed not in brought | SYSTEM_LIBRARIES:
                    yield f"needs {tag.needed}, which neither the wheel nor the system of {target.name} has"
        elif isinstance(section, GNUVerNeedSection):
            for library, versions in section.iter_versions():
                for version in versions:
                    # A library that the wheel brings defines what the wheel needs of it.
                    if library.name not in brought and (has := _too_new(version.name, target)):
                        yield f"needs {version.name} of {library.name}, {target.name} has {has}"


def _too_new(need: str, target: Target) -> str | None:
    """What the board has, where that is older than a need such as GLIBC_2.38; None where it is met."""
    prefix, _, version = need.partition("_")
    has = target.versions.get(prefix)
    if has is None:
        # Of other libraries, which have not changed for ten years or are found by their own names.
        return None
    wants = numbers(NAMED.get(need, version))
    return None if wants and wants <= numbers(has) else f"{prefix}_{has}"
