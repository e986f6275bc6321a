"""Whether edge-run may read and write what its settings name, and whether others may not."""

from __future__ import annotations

import grp
import stat
from collections.abc import Iterator
from pathlib import Path

from edge.camera import is_device, is_ribbon
from edge.config import Settings
from edge.doctor.finding import Finding, Findings, broken, good, skipped, warning
from edge.doctor.person import READ, WRITE, Person, runner
from edge.doctor.state import state_folder

# Of udev's rules: cameras belong to video; the programs that read ribbon cameras use the graphics too.
DEVICE_GROUPS, RIBBON_GROUPS = ("video",), ("video", "render")


def check(settings: Settings, root: Path = Path("/")) -> Findings:
    """User and groups, the state folder, the files with secrets, and the owner's public key."""
    person = runner(root)
    source = settings.camera.source
    yield from groups(person, RIBBON_GROUPS if is_ribbon(source) else DEVICE_GROUPS if is_device(source) else ())
    folder = state_folder(settings, root)
    try:
        yield from state(person, folder)
    except PermissionError:
        yield skipped("permissions.state", f"you may not look at {folder}", "run the doctor with sudo")
    for key, path in _secrets(settings):
        yield file(person, key, Path(path).expanduser(), secret=True)
    if settings.update.key_file:
        yield file(person, "update-key_file", Path(settings.update.key_file).expanduser(), secret=False)


def groups(person: Person, wanted: tuple[str, ...]) -> Findings:
    """As whom edge-run runs, and whether that user is in the groups that the camera asks for."""
    text = f"edge-run runs as {person.name}, in the groups {', '.join(person.groups)}"
    missing = [name for name in wanted if _exists(name) and name not in person.groups]
    if person.uid == 0:
        remedy = "run it as a user of its own, as systemd/install.sh does"
        yield warning("permissions.user", f"edge-run runs as {person.name}, who may do everything", remedy)
    elif missing:
        remedy = f"sudo usermod -aG {','.join(missing)} {person.name}, then log in again"
        yield warning("permissions.user", f"{text}; the camera wants {' and '.join(missing)}", remedy)
    else:
        yield good("permissions.user", text)


def state(person: Person, folder: Path) -> Findings:
    """The folder of the outbox: written by edge-run, closed to everyone else."""
    name = "permissions.state"
    if not folder.exists():
        parent = next(path for path in folder.absolute().parents if path.exists())
        if person.may(parent, WRITE):
            yield good(name, f"{folder} is not there yet; the first start makes it")
        else:
            remedy = f"sudo install -d -m 0700 -o {person.name} {folder}, or set service.state_dir"
            yield broken(name, f"{folder} is not there, and {person.name} may not make it", remedy)
        return
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not folder.is_dir():
        yield broken(name, f"{folder} is no folder", "move it away, or set service.state_dir")
    elif not person.may(folder, READ | WRITE):
        yield broken(name, f"{person.name} may not write {folder}", f"sudo chown {person.name} {folder}")
    elif mode & 0o077:
        yield warning(name, f"{folder} is open to other users (mode {mode:04o})", f"sudo chmod 0700 {folder}")
    else:
        yield good(name, f"{folder} belongs to {person.name} alone")


def file(person: Person, key: str, path: Path, *, secret: bool) -> Finding:
    """A file that the settings name: read by edge-run, and one with a password or a private key by nobody else."""
    name = f"permissions.{key}"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        readable = person.may(path, READ)
    except PermissionError:
        return skipped(name, f"you may not look at {path}", "run the doctor with sudo")
    except OSError as error:
        return broken(name, f"{path} cannot be read ({error.strerror})", f"make it, or correct {key.replace('-', '.', 1)}")
    if not readable:
        remedy = f"sudo chown root:{person.name} {path}; sudo chmod 0640 {path}"
        return broken(name, f"{person.name} may not read {path}", remedy)
    if not secret:
        return good(name, f"{path} is read by {person.name}")
    if mode & 0o007:
        return warning(name, f"everyone on this machine may read {path} (mode {mode:04o})", f"sudo chmod o= {path}")
    return good(name, f"{path} is read by {person.name} and not by everyone")


def _secrets(settings: Settings) -> Iterator[tuple[str, str]]:
    for key, path in (
        ("mqtt-password_file", settings.mqtt.password_file),
        ("mqtt-key_file", settings.mqtt.key_file),
        ("preview-token_file", settings.preview.token_file if settings.preview.serve else None),
    ):
        if path:
            yield key, path


def _exists(group: str) -> bool:
    try:
        grp.getgrnam(group)
    except KeyError:
        return False
    return True
