"""Small but real wheels with real ELF objects, and a lock over them: what a board gets, without a network."""

from __future__ import annotations

import base64
import hashlib
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

from converters.deploy.lock import Pin, lock_path, read_lock, write_lock
from converters.deploy.targets import Target

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "edge" / "models" / "micro.int8.tflite"
AARCH64, X86_64 = 183, 62
# Section types: strings, dynamic, version needs.
STRTAB, DYNAMIC, VERNEED = 3, 6, 0x6FFFFFFE
DT_NEEDED = 1

Needs = dict[str, list[str]]


def elf(needs: Needs | None = None, machine: int = AARCH64, sections: bool = True) -> bytes:
    """A shared object that needs versions of libraries, as the System V ABI and the Linux Standard Base lay it out."""
    needs = needs or {}
    strings = bytearray(b"\0")

    def place(text: str) -> int:
        strings.extend(text.encode() + b"\0")
        return len(strings) - len(text) - 1

    versions = dynamic = b""
    for index, (library, names) in enumerate(needs.items()):
        name = place(library)
        dynamic += struct.pack("<QQ", DT_NEEDED, name)
        if not names:
            continue
        last = not any(list(needs.values())[index + 1 :])
        versions += struct.pack("<HHIII", 1, len(names), name, 16, 0 if last else 16 + 16 * len(names))
        for number, version in enumerate(names):
            after = 0 if number == len(names) - 1 else 16
            versions += struct.pack("<IHHII", 0, 0, number + 2, place(version), after)
    dynamic += struct.pack("<QQ", 0, 0)
    names = b"\0.dynstr\0.dynamic\0.gnu.version_r\0.shstrtab\0"
    count = sum(bool(versions) for versions in needs.values())
    table = [(0, 0, b"", 0, 0), (1, STRTAB, bytes(strings), 0, 0), (9, DYNAMIC, dynamic, 1, 0)]
    table += [(18, VERNEED, versions, 1, count)] if count else []
    table += [(33, STRTAB, names, 0, 0)]
    body, headers = b"", b""
    for name, kind, content, link, info in table:
        entry = 16 if kind == DYNAMIC else 0
        headers += struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, 64 + len(body), len(content), link, info, 1, entry)
        body += content
    where, number = (64 + len(body), len(table)) if sections else (0, 0)
    start = struct.pack("<4sBBBB8x", b"\x7fELF", 2, 1, 1, 0)
    start += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 0, where, 0, 64, 56, 0, 64, number, max(number - 1, 0))
    return start + body + headers


def wheel(folder: Path, file: str, files: dict[str, bytes], requires: tuple[str, ...] = ()) -> Path:
    """A wheel as pip takes it, by its file name; the same arguments give the same bytes."""
    name, version, *_ = file.removesuffix(".whl").split("-")
    tag = "-".join(file.removesuffix(".whl").split("-")[2:])
    info = f"{name}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {text}" for text in requires)]
    content = files | {
        f"{info}/METADATA": "\n".join(metadata).encode() + b"\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
    }
    record = "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in content.items())
    content[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / file, "w") as archive:
        for path, text in content.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return folder / file


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


@dataclass(frozen=True)
class Store:
    """Where the parts of a small bundle lie: a folder of wheels, a lock over them, and the project's own wheel."""

    wheels: Path
    lock: Path
    own: Path

    def arguments(self) -> list[str]:
        """For edge-bundle."""
        return ["--wheels", str(self.wheels), "--locked", str(self.lock), "--wheel", str(self.own), "--no-yunet"]


def store(folder: Path, target: Target, needs: Needs | None = None, *, missing: str = "") -> Store:
    """The packages of a target's committed lock, each with one small shared object in numpy; `missing` is left out."""
    pins = []
    abi = f"cp{target.python.replace('.', '')}"
    for pin in read_lock(lock_path(target)).values():
        if pin.name == missing:
            continue
        plain = pin.name.replace("-", "_")
        if pin.name == "numpy":
            name = f"{plain}-{pin.version}-{abi}-{abi}-manylinux_2_17_aarch64.whl"
            files = {"numpy/core.so": elf(needs or {"libc.so.6": ["GLIBC_2.17"]}), "numpy/__init__.py": b""}
        else:
            name, files = f"{plain}-{pin.version}-py3-none-any.whl", {f"{plain}.py": b""}
        path = wheel(folder / "wheels", name, files)
        pins.append(Pin(pin.name, pin.version, (hashlib.sha256(path.read_bytes()).hexdigest(),), path.name))
    lock = folder / "lock.txt"
    write_lock(lock, target, pins)
    requires = ("numpy>=1.24", "paho-mqtt>=2.0,<3", "tomli>=2; python_version < '3.11'", "onnxruntime>=1.17; extra == 'onnx'")
    own = wheel(folder / "own", "emotion_edge-0.1.0-py3-none-any.whl", {"edge/__init__.py": b""}, requires)
    return Store(folder / "wheels", lock, own)
