"""Signs of life: stages beat, and systemd's watchdog is fed only while all of them do.

The beat is of the loop, not of frames: an unplugged camera degrades the service, it does not restart it.
"""

from __future__ import annotations

import os
import socket
import time


class Heartbeats:
    """When each stage last moved, on the monotonic clock."""

    def __init__(self, limit: float) -> None:
        """Args: limit: a stage that has not moved for so many seconds hangs."""
        self._limit = limit
        self._beats: dict[str, float] = {}

    def beat(self, stage: str, at: float) -> None:
        """Say when a stage last moved, on the monotonic clock."""
        self._beats[stage] = at

    def hung(self) -> list[str]:
        """The stages that have not moved for too long."""
        now = time.monotonic()
        return [stage for stage, beat in self._beats.items() if now - beat > self._limit]


class Systemd:
    """The notification protocol of sd_notify(3): one datagram per message, silent where systemd is not."""

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

    def feed(self) -> None:
        """Feed the watchdog, not more often than it asks for."""
        now = time.monotonic()
        if self.watchdog_interval and now - self._fed >= self.watchdog_interval / 2:
            self._fed = now
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
