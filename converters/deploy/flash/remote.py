"""A board that runs already, over ssh: the same tree as a tar, then the bundle's own installer."""

from __future__ import annotations

import io
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from converters.deploy.flash.plan import BUNDLE, PROGRAM, SETTINGS, SUFFIX, Entry, File, Folder, Found, Link, Plan
from converters.deploy.flash.tools import REMOTE, need, path
from converters.deploy.verify import EXECUTABLE
from edge.errors import DeployError

# What came over the line, until it is whole.
INCOMING = f"{PROGRAM}/incoming{SUFFIX}"
LAST = "whole"
ROOT = 'S=; [ "$(id -u)" = 0 ] || S="sudo -n"\n'
# ssh's own failures: no such host, refused, wrong key.
NO_LINE = 255


class RemoteTarget:
    """A board.

    Args:
        host: as ssh takes it.
        options: for ssh, before the host.
        control: where the connection is kept, so that a password is asked for once.
    """

    running = True

    def __init__(self, host: str, options: Sequence[str], control: Path) -> None:
        need(REMOTE)
        if host.startswith("-"):
            raise DeployError(f"--ssh {host!r}: expected HOST or USER@HOST")
        self.name = host
        keep = ["-o", "ControlMaster=auto", "-o", f"ControlPath={control}/%C", "-o", "ControlPersist=60"]
        self._ssh = [shutil.which("ssh", path=path()) or "ssh", *keep, *options]

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """See `system.Read`."""
        names = " ".join(map(shlex.quote, paths))
        # An archive ends with zeros: what is not there at all is an empty one, not a line that has broken.
        script = f'{ROOT}set --; for f in {names}; do if $S test -f "$f"; then set -- "$@" "$f"; fi; done\n'
        script += '[ $# = 0 ] || $S tar -chf - "$@" 2>/dev/null\n'
        content = self._run(script, "read")
        found = {}
        if content:
            try:
                with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                    for member in archive:
                        if member.isfile() and (file := archive.extractfile(member)):
                            found[f"/{member.name.lstrip('./')}"] = file.read()
            except tarfile.TarError as error:
                raise DeployError(f"{self.name}: its files cannot be read ({error}); try again") from None
        return found

    def boot(self) -> dict[str, bytes]:
        """Nothing: its first boot is over."""
        return {}

    def room(self) -> tuple[int, int]:
        """Free bytes and inodes where the program goes."""
        script = f'p={PROGRAM}; while [ ! -d "$p" ]; do p=$(dirname "$p"); done; stat -f -c \'%a %S %d %c\' "$p"\n'
        try:
            blocks, size, inodes, all_inodes = map(int, self._run(script, "read").split())
        except ValueError:
            raise DeployError(f"{self.name}: does not say how much room it has (stat -f)") from None
        # Some file systems count no inodes.
        return blocks * size, inodes if all_inodes else 1 << 40

    def boot_room(self) -> int:
        """Nothing, as nothing is written there."""
        return 0

    def look(self, plan: Plan) -> dict[str, Found]:  # noqa: ARG002
        """Nothing: all of it is sent anew."""
        return {}

    def script(self, plan: Plan) -> str:
        """What is run there with the archive as its input: nothing is touched before the last byte of it has come."""
        done = shlex.quote(plan.done.path)
        # What runs has not read new settings: without its mark the installer starts it again and sees whether it stays up.
        unproven = [f"rm -f {PROGRAM}/current/.healthy"] if any(map(_is_setting, plan.entries)) else []
        lines = [
            "set -eu",
            "umask 022",
            f"rm -rf {INCOMING}",
            f"mkdir -p {PROGRAM} && mkdir -m 0700 {INCOMING}",
            f"tar -xpf - -C {INCOMING}",
            f"[ -e {INCOMING}/{LAST} ] || {{ echo 'the line broke' >&2; exit 1; }}",
            f"rm -f {done}",
            f"rm -rf {BUNDLE}",
            f"mv {INCOMING}{BUNDLE} {BUNDLE}",
            *unproven,
            *(line for entry in plan.entries if not entry.path.startswith(BUNDLE) for line in _lines(entry)),
            "sync",
            *_lines(plan.done),
            f"rm -rf {INCOMING}",
            "sync",
        ]
        return "\n".join(lines)

    def lay(self, plan: Plan) -> None:
        """Send the tree, and put it where it belongs.

        Raises:
            DeployError: the line broke, or it has no room or no right to.
        """
        command = [*self._ssh, self.name, f"{ROOT}exec $S sh -c {shlex.quote(self.script(plan))}"]
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said)  # noqa: S603  our own list
            assert process.stdin is not None
            try:
                with process.stdin as line, tarfile.open(fileobj=line, mode="w|", format=tarfile.GNU_FORMAT) as archive:
                    _pack(archive, plan)
            except BrokenPipeError:
                pass
            status = process.wait()
            said.seek(0)
            words = said.read().decode("utf-8", "replace").strip().splitlines()
        if status:
            raise DeployError(self._reason("written", status, words[-1] if words else f"status {status}"))

    def install(self) -> int:
        """Run the bundle's installer there, which tells what it does; its exit status."""
        # With a terminal where there is one, so that Ctrl-C reaches it.
        done = subprocess.run(  # noqa: S603  our own list
            [*self._ssh, self.name, f"{ROOT}exec $S {BUNDLE}/{EXECUTABLE}"], stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode == NO_LINE:
            raise DeployError(f"{self.name}: the line broke; the installer goes on with the next boot, or run this again")
        return done.returncode

    def close(self) -> None:
        """End the connection that was kept."""
        subprocess.run(  # noqa: S603  our own list
            [*self._ssh, "-O", "exit", self.name], capture_output=True, stdin=subprocess.DEVNULL, check=False
        )

    def _run(self, script: str, what: str) -> bytes:
        done = subprocess.run(  # noqa: S603  our own list
            [*self._ssh, self.name, script], capture_output=True, stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode:
            words = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise DeployError(self._reason(what, done.returncode, words[-1] if words else f"status {done.returncode}"))
        return done.stdout

    def _reason(self, what: str, status: int, words: str) -> str:
        if "sudo" in words and "password" in words:
            return f"{self.name}: sudo asks for a password there; log in as root, or allow sudo without one (NOPASSWD)"
        if status == NO_LINE:
            return f"{self.name}: no connection ({words})"
        return f"{self.name}: cannot be {what} ({words})"


@contextmanager
def connect(host: str, options: Sequence[str]) -> Iterator[RemoteTarget]:
    """A board for as long as it takes."""
    with tempfile.TemporaryDirectory(prefix="ef") as control:
        target = RemoteTarget(host, options, Path(control))
        try:
            yield target
        finally:
            target.close()


def _is_setting(entry: Entry) -> bool:
    return isinstance(entry, File) and entry.path.startswith(f"{SETTINGS}/")


def _lines(entry: Entry) -> list[str]:
    place = shlex.quote(entry.path)
    match entry:
        case Folder():
            return [f"[ -d {place} ] || {{ mkdir -m {entry.mode:04o} {place} && chown {entry.uid}:{entry.gid} {place}; }}"]
        case File():
            new = shlex.quote(INCOMING + entry.path)
            # A service that runs can read its settings still, whatever becomes of the installation.
            keep = [f'[ ! -e {place} ] || chown "$(stat -Lc %u:%g {place})" {new}'] if _is_setting(entry) else []
            return [*keep, f"mv -f {new} {place}"]
        case Link():
            return [f"ln -sfn {shlex.quote(entry.target)} {place}"]


def _pack(archive: tarfile.TarFile, plan: Plan) -> None:
    """Files in the folders that they go to; the last member tells that it is whole."""
    for entry in (*plan.entries, File(f"/{LAST}", b"")):
        member = tarfile.TarInfo(entry.path.lstrip("/"))
        match entry:
            case Folder():
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            case File():
                member.mode, member.uid, member.gid, member.size = entry.mode, entry.uid, entry.gid, entry.size
                if isinstance(entry.content, bytes):
                    archive.addfile(member, io.BytesIO(entry.content))
                else:
                    with entry.content.open("rb") as file:
                        archive.addfile(member, file)
