"""A package to a device, over MQTT: offer, chunks, and questions how it stands, until the device has decided.

The connection may break, the device may restart, and so may this program: the device says which chunk is the next one, and it
goes on there. Everything goes out with QoS 0: nothing is sent twice by MQTT itself, no broker writes megabytes to its disk, and
what is lost is noticed by the number of the next chunk. A question is answered after all that was sent before it, so its answer
says exactly where to go on.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from converters.deploy.line import Line, Place
from edge.errors import UpdateError
from edge.update.package import (
    CHUNK,
    OFFER,
    PIECE,
    STATUS,
    WINDOW,
    Chunk,
    Package,
    Phase,
    Progress,
    write_chunk,
)

# Without news for so long, the device is asked; so is one that goes on and on, such as a trial. Seconds.
STALL = 3.0
# For the first answer of a device that is there at all, seconds.
FIRST_WORD = 30.0
# Between two attempts to reach the broker again, seconds.
PAUSE = 1.0
TURN = 0.2
# How often a device may fall silent after it has all and before it has decided: a model that takes it down is not sent for ever.
ATTEMPTS = 3


class RefusedError(UpdateError):
    """The device does not want the package, or has taken it back."""


@dataclass
class Sent:
    """What a push has cost.

    Attributes:
        chunks: messages with pieces of the files.
        resumed: the first one that this run has sent; 0 for a push from the beginning.
        connections: to the broker.
    """

    chunks: int = 0
    resumed: int = 0
    connections: int = 0


Report = Callable[[Phase, int, int], None]


def _silent(_phase: Phase, _done: int, _all: int) -> None:
    pass


def push(package: Package, content: bytes, place: Place, patience: float = 300.0, report: Report = _silent) -> Sent:
    """Bring a package to a device and wait until it has decided to keep it.

    Args:
        package: what it is.
        content: the whole package.
        place: broker and device.
        patience: seconds without any progress after which it is given up.
        report: called with the phase, and the chunks that are there and in all.

    Raises:
        RefusedError: the device says no, in its own words.
        UpdateError: the broker or the device does not answer.
    """
    return _Push(package, content, place, patience, report).run()


def ask(place: Place, patience: float = 10.0) -> Progress:
    """How a device stands.

    Raises:
        UpdateError: the broker or the device does not answer.
    """
    token, until = secrets.token_hex(8), time.monotonic() + patience
    with Line(place) as line:
        while time.monotonic() < until:
            line.send(STATUS, token.encode())
            again = min(until, time.monotonic() + STALL)
            while time.monotonic() < again and not line.lost:
                for progress, _ in line.replies(TURN):
                    if progress.token == token:
                        return progress
    raise UpdateError(_nobody(place))


def _nobody(place: Place) -> str:
    return f"nothing answers below {place.base}/update: is the device online, [update] key_file set there, and this user allowed?"


class _Push:
    def __init__(self, package: Package, content: bytes, place: Place, patience: float, report: Report) -> None:
        self._package, self._place, self._patience, self._report = package, place, patience, report
        self._files = memoryview(content)[len(package.seal) :]
        self._chunks = package.head.chunks
        self._sent = Sent()
        # Chunks that the device has, and the next one to be sent.
        self._there = self._next = 0
        self._flowing = self._offered = self._begun = False
        # Questions since the last chunk: the answer to any of them is exact.
        self._tokens: set[str] = set()
        self._attempts = 0
        self._heard = False
        self._news = self._asked = time.monotonic()

    def run(self) -> Sent:
        line: Line | None = None
        try:
            while True:
                if line is None:
                    line = self._connect()
                elif line.lost:
                    line.close()
                    line = None
                else:
                    for progress, error in line.replies(TURN):
                        if self._hear(line, progress, error):
                            return self._sent
                    self._pump(line)
                    if time.monotonic() - max(self._news, self._asked) > STALL:
                        self._ask(line)
                self._lose_patience()
        finally:
            if line is not None:
                line.close()

    def _connect(self) -> Line | None:
        try:
            line = Line(self._place)
        except UpdateError:
            if not self._sent.connections:
                raise
            time.sleep(PAUSE)
            return None
        self._sent.connections += 1
        self._ask(line)
        return line

    def _ask(self, line: Line) -> None:
        token = secrets.token_hex(8)
        self._tokens.add(token)
        self._flowing, self._asked = False, time.monotonic()
        line.send(STATUS, token.encode())

    def _hear(self, line: Line, progress: Progress, error: str | None) -> bool:
        """Returns whether the device keeps the model."""
        mine = progress.package == self._package.id
        answered = progress.token in self._tokens
        if not (mine or answered):
            return False
        self._heard = True
        if progress.phase in ("checking", "trial"):
            self._moved()
        if error is not None:
            self._fail(line, progress, error)
        elif progress.committed is not None and progress.committed.package == self._package.id:
            return True
        elif answered:
            self._decide(line, progress, mine)
        elif self._offered and progress.phase == "receiving" and not self._flowing and not self._tokens:
            self._go_on(progress.next)
        elif progress.phase == "receiving" and self._flowing and progress.next > self._there:
            self._there = progress.next
            self._moved()
        elif progress.phase == "idle" and self._flowing:
            # It has forgotten us: it was started anew.
            self._ask(line)
        self._report(progress.phase, self._there, self._chunks)
        return False

    def _decide(self, line: Line, progress: Progress, mine: bool) -> None:
        outcome = progress.outcome
        self._tokens.clear()
        if self._offered and outcome is not None and outcome.package == self._package.id and not outcome.ok:
            raise RefusedError(outcome.text)
        if mine and progress.phase == "receiving":
            self._go_on(progress.next)
        elif progress.phase == "idle":
            if self._there == self._chunks:
                self._attempts += 1
                if self._attempts == ATTEMPTS:
                    raise RefusedError(f"the device has stopped {ATTEMPTS} times while it looked at the model; look at its log")
            self._offered = True
            line.send(OFFER, self._package.seal)
        elif not mine:
            raise RefusedError("another update is running; try again when it is done")

    def _go_on(self, number: int) -> None:
        if not self._begun:
            self._begun, self._sent.resumed = True, number
        self._there = self._next = number
        self._flowing = True
        self._moved()

    def _fail(self, line: Line, progress: Progress, error: str) -> None:
        judged = progress.outcome is not None and progress.outcome.package == self._package.id
        if self._sent.resumed and self._next == self._chunks and not judged:
            # What was there from another time may be what is damaged: once more, from the beginning.
            self._sent.resumed, self._there, self._next, self._flowing = 0, 0, 0, False
            self._ask(line)
            return
        raise RefusedError(error)

    def _pump(self, line: Line) -> None:
        while self._flowing and not line.lost and self._next < min(self._chunks, self._there + WINDOW):
            data = bytes(self._files[self._next * CHUNK : (self._next + 1) * CHUNK])
            line.send(PIECE, write_chunk(Chunk(self._package.id, self._next, data)))
            self._next += 1
            self._sent.chunks += 1

    def _moved(self) -> None:
        self._news = time.monotonic()

    def _lose_patience(self) -> None:
        silence = time.monotonic() - self._news
        if not self._heard and silence > min(self._patience, FIRST_WORD):
            raise UpdateError(_nobody(self._place))
        if silence <= self._patience:
            return
        raise UpdateError(
            f"no progress for {self._patience:g} s at {self._there} of {self._chunks} chunks; the same command goes on from there"
        )


def describe(progress: Progress) -> str:
    """For people: what a device says of its updates."""
    lines = [f"running    {progress.running}"]
    kept = progress.committed
    pushed = f"{kept.name} {kept.version}, counter {kept.counter}" if kept else "none: the model of its settings"
    lines.append(f"pushed     {pushed}")
    lines.append(f"update     {progress.phase}" + (f", {progress.next} of {progress.chunks} chunks" if progress.chunks else ""))
    if progress.outcome is not None:
        lines.append(f"last one   {'kept' if progress.outcome.ok else 'failed'}: {progress.outcome.text}")
    return "\n".join(lines)
