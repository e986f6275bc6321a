"""The thread that takes update messages: offers, chunks, and questions about how it stands.

The delivery thread only drops messages into a bounded queue; whatever waits for the disk waits here. Nothing of MQTT is relied on
for completeness: a chunk that was lost is seen by its number, and whoever pushes asks again and goes on at `next`.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec.structs import replace

from edge.clock import SYSTEM, Clock
from edge.errors import UpdateError
from edge.reload import Opened
from edge.update.package import (
    OFFER,
    PIECE,
    SIGNATURE_BYTES,
    STATUS,
    WINDOW,
    Chunk,
    Installed,
    Package,
    open_seal,
    package_id,
    read_chunk,
)
from edge.update.slots import Slots
from edge.update.transfer import Transfer

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

# Messages that wait for this thread; more than anyone who keeps to the window sends. The rest is dropped.
WAITING = 4 * WINDOW
# A transfer that has not moved for so long makes way for another package; what has come of it is kept. Seconds.
IDLE = 60.0
# And one that takes longer than this is given up, whoever keeps it moving. Seconds.
LONGEST = 3600.0
# After a message that is refused, and between two remarks about chunks that nobody expects: noise costs its sender time. Seconds.
PAUSE = 0.5
TURN = 1.0

log = logging.getLogger(__name__)


class Rules(NamedTuple):
    """What the inbox asks and tells.

    Attributes:
        judge: raises an `UpdateError` for a package that must not be installed.
        prove: opens the model of a slot and holds it against its golden scores; raises an `UpdateError`.
        answer: says how it stands: about which package, why not, and the token of the question.
    """

    judge: Callable[[Package], None]
    prove: Callable[[Installed], Opened]
    answer: Callable[[str | None, str | None, str | None], None]


class Inbox:
    """Receives one package at a time, and hands it on when all of it is there, whole, in a slot.

    Args:
        slots: where it goes.
        key: who may offer.
        rules: what else counts.

    Attributes:
        phase: `checking` from the last chunk until `settle`.
        transfer: what is being received.
        staged: in a slot, opened, for the supervisor to try.
    """

    def __init__(self, slots: Slots, key: Ed25519PublicKey, rules: Rules, clock: Clock = SYSTEM) -> None:
        self._slots, self._key, self._rules, self._answer, self._clock = slots, key, rules, rules.answer, clock
        self._incoming = slots.folder / "incoming"
        self._queue: queue.Queue[tuple[str, bytes, bool]] = queue.Queue(WAITING)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="update", daemon=True)
        self._moved = self._began = self._remarked = clock.monotonic()
        self._told = 0
        self.phase: Literal["idle", "receiving", "checking"] = "idle"
        self.transfer: Transfer | None = None
        self.staged: tuple[Installed, Opened] | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the message in work; what has come stays, for the next time."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(2 * TURN)

    def hear(self, level: str, payload: bytes, retained: bool) -> None:
        """Take a message from `update/<level>`; returns at once."""
        try:
            self._queue.put_nowait((level, payload, retained))
        except queue.Full:
            log.debug("more update messages than can be taken; one is dropped")

    def settle(self, keep: bool) -> None:
        """The supervisor is through with what was staged; the next package may come.

        Args:
            keep: leave the package as it came, so that a second push need not send it again.
        """
        if not keep:
            # A leftover costs room; the next transfer begins over it.
            with suppress(OSError):
                self._incoming.unlink(missing_ok=True)
        # The phase last: with it the other thread may begin anew.
        self.transfer, self.staged = None, None
        self.phase = "idle"

    # From here on everything runs in the thread.

    def _run(self) -> None:
        while not self._stop.is_set():
            level, payload = "", b""
            try:
                try:
                    level, payload, retained = self._queue.get(timeout=TURN)
                except queue.Empty:
                    self._look_at_the_time()
                else:
                    self._take(level, payload, retained)
            except (UpdateError, OSError) as error:
                self._refuse(error, self._subject(level, payload))
            except Exception:
                # Whatever it was: the next message finds the thread alive.
                log.exception("an update message could not be worked on")
                self._give_up()
        if self.transfer is not None:
            self.transfer.close()

    def _take(self, level: str, payload: bytes, retained: bool) -> None:
        if retained:
            # It would come again with every connection.
            log.info("a retained update message is ignored")
        elif level == STATUS:
            token = payload[:64].decode("ascii", "replace")
            self._answer(self._package_id(), None, token)
        elif level == OFFER:
            self._offer(open_seal(payload, self._key))
        elif level == PIECE:
            self._put(read_chunk(payload))

    def _offer(self, package: Package) -> None:
        if self._package_id() == package.id:
            self._answer(package.id, None, None)
            return
        if self.phase == "receiving" and self._clock.monotonic() - self._moved > IDLE:
            self._let_go()
        if self.phase != "idle":
            raise UpdateError("another update is running; try again when it is done")
        self._rules.judge(package)
        outcome = self._slots.pointer.outcome
        if outcome is not None and outcome.package == package.id:
            # What has become of it the last time must not be taken for what becomes of it now.
            self._slots.write(replace(self._slots.pointer, outcome=None))
        self.transfer = Transfer(self._incoming, package)
        self.phase, self._told = "receiving", self.transfer.next
        self._moved = self._began = self._clock.monotonic()
        log.info("update to %s: %d of %d chunks are there", package.head.identity, self.transfer.next, package.head.chunks)
        if self.transfer.complete:
            self._check(self.transfer)
        else:
            self._answer(package.id, None, None)

    def _put(self, chunk: Chunk) -> None:
        transfer, now = self.transfer, self._clock.monotonic()
        if transfer is None or self.phase != "receiving" or transfer.package.id != chunk.package:
            self._remark(chunk.package, now)
            return
        before = transfer.next
        try:
            transfer.put(chunk)
        except OSError:
            # The room that it takes is needed more by others.
            self._give_up()
            raise
        if transfer.next == before:
            self._remark(chunk.package, now)
            return
        self._moved = now
        if transfer.complete:
            self._check(transfer)
        elif self._queue.empty() or transfer.next - self._told >= WINDOW // 2:
            self._told = transfer.next
            self._answer(chunk.package, None, None)

    def _check(self, transfer: Transfer) -> None:
        self.phase = "checking"
        self._answer(transfer.package.id, None, None)
        try:
            transfer.sync()
            transfer.close()
            installed = self._slots.stage(transfer.package, self._incoming)
            self.staged = installed, self._rules.prove(installed)
        except (UpdateError, OSError):
            # Whatever is wrong with it will not get right: the next push begins at the beginning.
            self._give_up()
            raise

    def _remark(self, package: str, now: float) -> None:
        """About a chunk that nobody waits for: how it stands, but not for each of them."""
        if now - self._remarked >= PAUSE:
            self._remarked = now
            self._answer(package, None, None)

    def _refuse(self, error: UpdateError | OSError, package: str | None) -> None:
        text = f"the disk does not take it ({error.strerror})" if isinstance(error, OSError) else str(error)
        log.warning("update: %s", text)
        self._answer(package, text, None)
        self._stop.wait(PAUSE)

    def _look_at_the_time(self) -> None:
        if self.phase != "receiving" or self.transfer is None:
            return
        now, package = self._clock.monotonic(), self.transfer.package.id
        if now - self._began > LONGEST:
            self._give_up()
            self._answer(package, f"not there within {LONGEST / 60:.0f} minutes; push it again, from the beginning", None)
        elif now - self._moved > IDLE:
            self._let_go()

    def _let_go(self) -> None:
        """Wait for it no more, but keep what has come."""
        if self.transfer is not None:
            log.info("update to %s: nothing has come for %.0f s", self.transfer.package.head.identity, IDLE)
            # What is not on disk is found by the sha256.
            with suppress(OSError):
                self.transfer.sync()
            self.transfer.close()
        self.settle(keep=True)

    def _give_up(self) -> None:
        if self.transfer is not None:
            self.transfer.close()
        self.settle(keep=False)

    def _package_id(self) -> str | None:
        return self.transfer.package.id if self.transfer is not None else None

    def _subject(self, level: str, payload: bytes) -> str | None:
        """Which package a refused message was about; None where it does not say."""
        if level == PIECE and len(payload) >= 16:
            return payload[:16].hex()
        if level == OFFER and len(payload) > SIGNATURE_BYTES:
            return package_id(payload[:-SIGNATURE_BYTES])
        return None
