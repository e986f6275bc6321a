"""When the power goes during an update, and an update that it goes in."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from brokers import wait_for

from converters.deploy.line import Place
from converters.deploy.push import push
from edge.errors import UpdateError
from edge.update.package import Package

SEED = 20261122
PHASES = ("receiving", "checking", "trial", "kept")
# Without an answer for so long the pusher gives up, before a board can be back: else it would begin anew. Seconds.
PATIENCE = 25.0
LONGEST = 600.0


@dataclass(frozen=True)
class Moment:
    """So much of a phase has passed."""

    phase: str
    share: float

    def __str__(self) -> str:
        return f"{self.phase} {self.share:4.0%}"


def moments(count: int) -> Iterator[Moment]:
    """As many, at random and spread over all phases alike: from the first chunk to past the commit."""
    draw = random.Random(SEED)
    for number in range(count):
        where = (number + draw.random()) * len(PHASES) / count
        yield Moment(PHASES[int(where)], where % 1)


@dataclass
class Pushing:
    """A push in the background, and how far it has come.

    Attributes:
        began: phase -> when it began, monotonic; `kept` is when the device has said so.
        there, chunks: of the package, on the device.
    """

    package: Package
    content: bytes
    place: Place
    began: dict[str, float] = field(default_factory=dict)
    there: int = 0
    chunks: int = 0

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress(UpdateError):
            push(self.package, self.content, self.place, PATIENCE, self._report)
            self.began["kept"] = time.monotonic()

    def _report(self, phase: str, there: int, chunks: int) -> None:
        self.there, self.chunks = there, chunks
        if phase in PHASES and (phase != "receiving" or there):
            self.began.setdefault(phase, time.monotonic())

    def wait(self, moment: Moment, lasts: dict[str, float]) -> None:
        """Until this moment; of a phase that is known to last so long."""
        later = PHASES[PHASES.index(moment.phase) :]
        wait_for(lambda: any(phase in self.began for phase in later), LONGEST, f"{moment.phase}, not only {self.began}")
        if moment.phase in self.began:
            time.sleep(max(0.0, self.began[moment.phase] + moment.share * lasts[moment.phase] - time.monotonic()))

    def lasts(self) -> dict[str, float]:
        """How long each phase took, seconds; nothing comes after `kept`, and 3 s are looked at there."""
        wait_for(lambda: "kept" in self.began, LONGEST, f"kept, not only {self.began}")
        found = [phase for phase in PHASES if phase in self.began]
        ends = [*(self.began[phase] for phase in found[1:]), self.began["kept"] + 3.0]
        known = {phase: end - self.began[phase] for phase, end in zip(found, ends, strict=True)}
        # A phase that was over before anyone was told of it.
        return {phase: known.get(phase, 1.0) for phase in PHASES}

    @property
    def phase(self) -> str:
        """The last one that has begun."""
        found = [phase for phase in PHASES if phase in self.began]
        return found[-1] if found else "offered"

    def join(self) -> None:
        """Until it has given up, too."""
        self._thread.join(2 * PATIENCE)
        assert not self._thread.is_alive()
