"""The service manager's side: sd_notify(3), in one datagram per message. Silent where systemd is not."""

from __future__ import annotations

import os
import socket
import time


class Systemd:
    """The notification protocol."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        # The manager expects a sign within WATCHDOG_USEC; half of it leaves room for one that is late (sd_watchdog_enabled(3)).
        self.watchdog_interval = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6 / 2
        self._fed = -float("inf")

    @property
    def present(self) -> bool:
        """Whether a service manager started this process and listens."""
        return bool(self._address)

    def ready(self, status: str) -> None:
        """The service is up."""
        self._send(f"READY=1\nSTATUS={status}")

    def starting(self, text: str) -> None:
        """Still on the way up: another ten seconds, however long the unit's TimeoutStartSec is."""
        self._send(f"EXTEND_TIMEOUT_USEC=10000000\nSTATUS={text}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def stopping(self) -> None:
        """The service is on its way down."""
        self._send("STOPPING=1")

    def hungry(self) -> bool:
        """Whether it is time to feed the watchdog again: twice in the interval that it asks for."""
        return bool(self.watchdog_interval) and time.monotonic() - self._fed >= self.watchdog_interval / 2

    def feed(self) -> None:
        """Tell the manager that everything moves."""
        self._fed = time.monotonic()
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # A leading @ stands for a name in the abstract namespace.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            try:
                channel.connect(address)
                channel.sendall(message.encode())
            except OSError:
                # A manager that has gone away must not take the service with it.
                return
