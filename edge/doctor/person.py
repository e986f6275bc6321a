"""As whom emotion-edge runs, and what that user may do with a file."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from pathlib import Path

import msgspec

UNIT = Path("etc/systemd/system/emotion-edge.service")
STATE = Path("var/lib/emotion-edge")
READ, WRITE = os.R_OK, os.W_OK


class Person(msgspec.Struct, frozen=True):
    """Attributes: gids are those of all groups; me is whether it is the user that runs the doctor."""

    name: str
    uid: int
    gids: frozenset[int]
    me: bool

    def may(self, path: Path, what: int) -> bool:
        """Whether this user may open a file so. For another user by the mode bits alone, access lists left aside.

        Raises:
            PermissionError: the way to it is closed to the user that runs the doctor.
        """
        if self.me:
            return os.access(path, what)
        whole = path.absolute()
        return all(self._allowed(folder, os.X_OK) for folder in whole.parents) and self._allowed(whole, what)

    def _allowed(self, path: Path, what: int) -> bool:
        found = path.stat()
        if self.uid == 0:
            return True
        shift = 6 if found.st_uid == self.uid else 3 if found.st_gid in self.gids else 0
        return (stat.S_IMODE(found.st_mode) >> shift) & what == what

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups; a group without a name is its number."""
        return tuple(sorted(_group(gid) for gid in self.gids))


def myself() -> Person:
    """The user that runs the doctor."""
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Person(name, uid, frozenset((os.getegid(), *os.getgroups())), me=True)


def runner(root: Path = Path("/")) -> Person:
    """As whom edge-run runs: the service's user where the service is installed, else this one."""
    me = myself()
    try:
        unit = (root / UNIT).read_text()
        user = pwd.getpwnam((re.findall(r"^User=(\S+)", unit, re.MULTILINE) or ["root"])[-1])
    except (OSError, UnicodeDecodeError, KeyError):
        return me
    if user.pw_uid == me.uid:
        return me
    # The unit adds groups that the user itself has not.
    named = " ".join(re.findall(r"^SupplementaryGroups=(.*)", unit, re.MULTILINE)).split()
    added = {group.gr_gid for group in grp.getgrall() if group.gr_name in named or user.pw_name in group.gr_mem}
    return Person(user.pw_name, user.pw_uid, frozenset({user.pw_gid, *added}), me=False)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
