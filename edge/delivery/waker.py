"""Wakes a thread that waits on sockets."""

from __future__ import annotations

import socket
from contextlib import suppress


class Waker:
    """A pair of sockets: whoever writes to one ends the wait on the other."""

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)

    def fileno(self) -> int:
        """To be waited on for input; -1 once closed."""
        return self._far.fileno()

    def wake(self) -> None:
        """End the wait. From any thread, at any time."""
        # A full socket is as good as one byte more; a closed one has nobody left to wake.
        with suppress(OSError):
            self._near.send(b"\0")

    def rest(self) -> None:
        """Forget every call so far."""
        with suppress(BlockingIOError):
            while self._far.recv(4096):
                pass

    def close(self) -> None:
        """Give both sockets back."""
        self._near.close()
        self._far.close()
