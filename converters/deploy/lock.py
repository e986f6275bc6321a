"""Which version of every package a board gets: resolved once by pip, written with hashes, committed.

pip reads environment markers (`python_version < "3.11"`) as of the machine that it runs on, also with --platform; so what it
resolves is held here against the board's own markers, and what only the board needs is asked for by name.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from converters.deploy.targets import MACHINE, Target
from converters.deploy.wheels import Wheel, platform_options, read_wheel, run_pip
from edge.errors import DeployError

LOCKS = Path(__file__).parent / "locks"
# Each round asks for what the one before found missing; a chain of markers is short.
ROUNDS = 10

PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?P<hashes>(\s+--hash=sha256:[0-9a-f]{64})+)")


@dataclass(frozen=True, slots=True)
class Pin:
    """A package of a lock.

    Attributes:
        name: normalised. version: the one that is taken.
        hashes: sha256 of the wheels that may be taken; a lock that we write has one.
        file: the wheel's name, for people.
    """

    name: str
    version: str
    hashes: tuple[str, ...]
    file: str = ""

    @property
    def text(self) -> str:
        """In pip's format."""
        return f"{self.name}=={self.version}" + "".join(f" \\\n    --hash=sha256:{digest}" for digest in self.hashes)


def lock_path(target: Target) -> Path:
    """Of the lock that comes with emotion-edge."""
    return LOCKS / f"{target.name}.txt"


def read_lock(path: Path) -> dict[str, Pin]:
    """The pins of a lock, by name.

    Raises:
        DeployError: it cannot be read, or a line is not `name==version --hash=sha256:…`.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise DeployError(f"{path}: the lock cannot be read ({error.strerror}); edge-bundle --lock writes it") from None
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    pins: dict[str, Pin] = {}
    for line in lines:
        found = PIN.fullmatch(line.strip())
        if found is None:
            raise DeployError(f"{path}: {line.strip()[:60]!r} is not `name==version --hash=sha256:…`")
        name = canonicalize_name(found["name"])
        pins[name] = Pin(name, found["version"], tuple(re.findall(r"sha256:([0-9a-f]{64})", found["hashes"])))
    return pins


def write_lock(path: Path, target: Target, pins: Iterable[Pin]) -> None:
    """Write a lock; the same pins give the same bytes.

    Raises:
        DeployError: it cannot be written.
    """
    head = (
        f"# What {target.board} gets: Python {target.python}, {MACHINE}, glibc {target.glibc}.\n"
        f"# Written by: edge-bundle --lock --target {target.name}\n"
    )
    body = "".join(f"# {pin.file}\n{pin.text}\n" for pin in sorted(pins, key=lambda pin: pin.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(head + body)
    except OSError as error:
        raise DeployError(f"{path}: cannot be written ({error.strerror})") from None


def project_requirements(checkout: Path, target: Target) -> list[Requirement]:
    """What emotion-edge with a board's extras asks for, out of its pyproject.toml.

    Raises:
        DeployError: there is none.
    """
    path = checkout / "pyproject.toml"
    try:
        project = msgspec.toml.decode(path.read_bytes())["project"]
        texts = [*project["dependencies"], *(text for extra in target.extras for text in project["optional-dependencies"][extra])]
    except (OSError, msgspec.DecodeError, KeyError, TypeError) as error:
        raise DeployError(f"{path}: cannot be read as this project's ({error}); run it in a checkout") from None
    return [Requirement(text) for text in texts]


def resolve(target: Target, roots: Iterable[Requirement]) -> list[Pin]:
    """Let pip choose the versions for a board.

    Args:
        roots: what is asked for; what does not concern the board is left out.

    Raises:
        DeployError: pip finds no versions that fit together.
    """
    asked = [str(root) for root in wanted(roots, target)]
    unmet: list[Requirement] = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            # Not `pip install --dry-run`: that holds Requires-Python against the Python that it runs on.
            run_pip("download", "--dest", folder, *platform_options(target), *asked)
            wheels = {wheel.name: wheel for wheel in map(read_wheel, sorted(Path(folder).glob("*.whl")))}
        reached, unmet = closure([Requirement(text) for text in asked], wheels, target)
        if not unmet:
            return [Pin(name, wheels[name].version, (wheels[name].sha256,), wheels[name].path.name) for name in sorted(reached)]
        # Without the marker, which pip would read as this machine's.
        asked += [str(requirement) for requirement in unmet]
    raise DeployError(f"{target.name}: pip and the board's markers do not agree on: {', '.join(map(str, unmet))}")


def closure(roots: Iterable[Requirement], wheels: Mapping[str, Wheel], target: Target) -> tuple[set[str], list[Requirement]]:
    """Follow requirements as the board reads their markers.

    Returns:
        The names that are reached, and the requirements that none of these wheels meets, without their markers.
    """
    reached: set[tuple[str, str]] = set()
    unmet: dict[str, Requirement] = {}
    todo = wanted(roots, target)
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        wheel = wheels.get(name)
        if wheel is None or not requirement.specifier.contains(wheel.version, prereleases=True):
            unmet[str(requirement)] = requirement
            continue
        for extra in ("", *requirement.extras):
            if (name, extra) not in reached:
                reached.add((name, extra))
                todo += wanted(wheel.requires, target, extra)
    return {name for name, _ in reached}, [unmet[text] for text in sorted(unmet)]


def wanted(requirements: Iterable[Requirement], target: Target, extra: str = "") -> list[Requirement]:
    """Those that concern a board (and, of those of an extra, this one), without their markers."""
    environment = {
        "implementation_name": "cpython",
        "implementation_version": f"{target.python}.0",
        "os_name": "posix",
        "platform_machine": MACHINE,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{target.python}.0",
        "python_version": target.python,
        "sys_platform": "linux",
        "extra": extra,
    }
    found = []
    for requirement in requirements:
        if requirement.name in target.without or (requirement.marker and not requirement.marker.evaluate(environment)):
            continue
        bare = Requirement(str(requirement))
        bare.marker = None
        found.append(bare)
    return found
