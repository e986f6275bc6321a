"""How every command ends: one plain line for a person, and an exit status for a machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from edge.errors import EmotionEdgeError

OK = 0
FAILED_GATE = 1
UNUSABLE = 2
UNDELIVERED = 3
INTERRUPTED = 130


def exit_status(command: str, body: Callable[[], int]) -> int:
    """Run a command's body; turn what a user can cause into a message without a traceback.

    Returns:
        The body's status, 2 for an `EmotionEdgeError`, 130 for Ctrl-C.
    """
    try:
        return body()
    except EmotionEdgeError as error:
        for line in str(error).splitlines():
            print(f"{command}: {line}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left (`| head`); keep the interpreter's exit from complaining about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
