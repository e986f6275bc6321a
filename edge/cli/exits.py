"""How every command ends: one plain line for a person, and an exit status for a machine."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from edge.errors import ConfigError, EmotionEdgeError, StageError

OK = 0
FAILED_GATE = 1
UNUSABLE = 2
UNDELIVERED = 3
HUNG = 4
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """One plain line for a mistake instead of the whole usage, with the nearest flag; abbreviations are not taken.

    Parse inside `exit_status`: a mistake is a ConfigError.
    """

    def __init__(self, **settings: Any) -> None:
        # What is written into a unit or a script must mean the same after an update adds a flag.
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        raise ConfigError([f"{_without_values(message)}{self._nearest(message)}; see {self.prog} --help"])

    def _nearest(self, message: str) -> str:
        prefix, _, unknown = message.partition("unrecognized arguments: ")
        word = (unknown.split("=")[0].split() or [""])[0]
        found = [] if prefix else difflib.get_close_matches(word, self._option_string_actions, n=1)
        return f" (did you mean {found[0]}?)" if found else ""


def _without_values(message: str) -> str:
    """A mistyped flag may be that of a secret, and its value stands beside it: only the flags are repeated."""
    start, found, unknown = message.partition("unrecognized arguments: ")
    flags = [word.split("=")[0] for word in unknown.split() if word.startswith("-")]
    return f"{start}{found}{' '.join(flags) or '(a word without a flag)'}" if found else message


def exit_status(command: str, body: Callable[[], int]) -> int:
    """Run a command's body; turn what a user can cause into a message without a traceback.

    Returns:
        The body's status, 4 for a `StageError`, 2 for any other `EmotionEdgeError`, 130 for Ctrl-C.
    """
    try:
        return body()
    except EmotionEdgeError as error:
        for line in str(error).splitlines():
            print(f"{command}: {line}", file=sys.stderr)
        # What a new process may cure must not look like settings that stay unusable.
        return HUNG if isinstance(error, StageError) else UNUSABLE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left (`| head`); keep the interpreter's exit from complaining about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
