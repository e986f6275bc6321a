"""The trial: a model that has come is proven, switched to, watched, and kept or taken back.

    offer ─▶ chunks ─▶ signature, sha256 ─▶ golden scores ─▶ pointer: trial ─▶ switched ─▶ healthy for a while ─▶ pointer: kept
                │              │                 │                                │
                └──────────────┴─── refused ─────┘                                └─▶ pointer: as before, switched back

A trial that the pointer names at the start of a process has not ended well: power, crash or watchdog came in between. It is over
then, and the model from before runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from edge.clock import SYSTEM, Clock
from edge.config import Settings, UpdateSettings
from edge.errors import EmotionEdgeError, UpdateError, first_line
from edge.reload import Opened, open_named
from edge.update.inbox import Inbox, Rules
from edge.update.package import Installed, Outcome, Package, Progress, load_public_key, version_numbers
from edge.update.slots import Pointer, Slots

log = logging.getLogger(__name__)

# Between two attempts to write a pointer that the disk does not take, seconds.
RETRY = 5.0
# What is told, and why something was not done.
Tell = Callable[[dict[str, Any], str | None], None]


class Updates:
    """Models from the air.

    Args:
        settings: the key, and how long a model has to be healthy.
        folder: `models` in the state folder. Nothing is written there before `start`.

    Attributes:
        hear: takes a message from `update/<level>`: level, payload, and whether it was retained; returns at once.

    Raises:
        UpdateError: the key cannot be used.
        RuntimeMissingError: `cryptography` is not installed.
    """

    def __init__(self, settings: UpdateSettings, folder: Path, clock: Clock = SYSTEM) -> None:
        assert settings.key_file is not None
        key = load_public_key(Path(settings.key_file).expanduser())
        self._healthy, self._clock = settings.healthy, clock
        self._slots = Slots(folder, key)
        self._inbox = Inbox(self._slots, key, Rules(self._judge, self._prove, self._answer), clock)
        self.hear = self._inbox.hear
        self._tell: Tell = lambda _progress, _error: None
        self._trial: Installed | None = None
        # The pushed model that runs; None when that is the settings'.
        self._installed: Installed | None = None
        self._lasted = self._looked_at = self._retry_at = 0.0
        self._restarts = 0

    def open(self, settings: Settings) -> Opened:
        """Open the model that counts: that of the last update that was kept, else the one from before it, else the settings'.

        Raises:
            EmotionEdgeError: as `open_models`, of the settings' model.
        """
        pointer = self._slots.pointer
        for installed in filter(None, (pointer.committed, pointer.previous)):
            try:
                opened = self._use(installed, settings)
            except Exception as error:  # noqa: BLE001  whatever is wrong with it, the device starts
                log.warning("the pushed %s %s cannot be used: %s", installed.name, installed.version, first_line(error))
            else:
                break
        else:
            opened = self._use(None, settings)
        if self._installed != pointer.committed:
            # What cannot be used counts no more, and its slot is written next; on disk with the next update.
            self._slots.pointer = replace(pointer, committed=self._installed, previous=None)
        return opened

    def reopen(self, settings: Settings) -> Opened:
        """Open for a reload what runs: a trial, another pushed model, or the model that the settings name.

        Raises:
            EmotionEdgeError: it cannot be opened; what runs goes on, with the settings that it has.
        """
        return self._use(self._installed, settings)

    def start(self, tell: Tell) -> None:
        """Begin to take updates.

        Args:
            tell: takes the answers, from any thread.
        """
        self._tell = tell
        trial = self._slots.pointer.trial
        if trial is not None:
            self._take_back(trial, "the program or the board stopped while it was on trial")
        self._inbox.start()

    def stop(self) -> None:
        """End; an update that is under way goes on with the next start, a trial is over."""
        self._inbox.stop()

    def turn(self, restarts: int, watching: bool) -> Opened | None:
        """Look after what has come, and after what is on trial.

        The supervisor calls this, and `open`, `start` and `stop`; `reopen` may take its time in another thread, while this waits.

        Args:
            restarts: how often a stage has been started anew so far; one more ends a trial.
            watching: whether anything is being looked at; a pause proves nothing.

        Returns:
            What to go on with, where it has changed.
        """
        now = self._clock.monotonic()
        try:
            if self._trial is not None:
                return self._watch(self._trial, restarts, watching, now)
            if self._inbox.staged is not None and now >= self._retry_at:
                return self._try(*self._inbox.staged, restarts, now)
        except OSError as error:
            # The pointer still names what it named.
            self._retry_at = now + RETRY
            _warn(error)
        return None

    def _open(self, installed: Installed | None, settings: Settings) -> Opened:
        if installed is None:
            return open_named(settings)
        path = str(self._slots.model(installed))
        return open_named(replace(settings, model=replace(settings.model, path=path)))

    def _use(self, installed: Installed | None, settings: Settings) -> Opened:
        # Nothing of it counts before all of it is open.
        opened = self._open(installed, settings)
        self._installed, self._settings, self._opened = installed, settings, opened
        return opened

    def _prove(self, installed: Installed) -> Opened:
        """Called in the inbox's thread: it may take minutes where an engine has to be built.

        Raises:
            UpdateError: why the model cannot be used; its slot is empty then.
        """
        try:
            opened = self._open(installed, self._settings)
            manifest = opened.models.classifier.manifest
            if (manifest.name, manifest.version) != (installed.name, installed.version):
                raise UpdateError(f"its manifest is that of {manifest.name} {manifest.version}; pack it again")
        except Exception as error:  # noqa: BLE001  whatever a runtime makes of it, the old model is good
            text = f"{installed.name} {installed.version} is refused: {first_line(error)}"
            self._slots.discard(installed.slot)
            self._slots.write(replace(self._slots.pointer, outcome=Outcome(installed.package, False, text)))
            raise UpdateError(text) from None
        return opened

    def _try(self, installed: Installed, opened: Opened, restarts: int, now: float) -> Opened:
        self._slots.write(replace(self._slots.pointer, trial=installed))
        self._before = self._installed, self._opened
        self._installed, self._opened, self._trial = installed, opened, installed
        self._restarts, self._lasted, self._looked_at = restarts, 0.0, now
        log.info("%s is on trial for %g s", self._running, self._healthy)
        self._answer(installed.package, None, None)
        return opened

    def _watch(self, trial: Installed, restarts: int, watching: bool, now: float) -> Opened | None:
        if watching:
            self._lasted += now - self._looked_at
        self._looked_at = now
        if restarts > self._restarts:
            text = self._take_back(trial, "a part of the program failed while it was on trial")
            self._trial = None
            try:
                # Anew: a thread that hangs may still be inside the old one.
                self.open(self._settings)
            except EmotionEdgeError as error:
                log.warning("the old model cannot be opened again (%s)", first_line(error))
                self._installed, self._opened = self._before
            self._inbox.settle(keep=False)
            self._answer(trial.package, text, None)
            return self._opened
        if self._lasted >= self._healthy and now >= self._retry_at:
            self._keep(trial)
        return None

    def _keep(self, trial: Installed) -> None:
        outcome = Outcome(trial.package, True, f"{trial.name} {trial.version} is kept")
        old = self._slots.pointer.committed
        self._slots.write(Pointer(counter=trial.counter, committed=trial, previous=old, outcome=outcome))
        self._trial = None
        self._inbox.settle(keep=False)
        log.info("%s", outcome.text)
        self._answer(trial.package, None, None)

    def _take_back(self, trial: Installed, why: str) -> str:
        text = f"{trial.name} {trial.version} was taken back: {why}"
        log.warning("%s", text)
        try:
            self._slots.write(replace(self._slots.pointer, trial=None, outcome=Outcome(trial.package, False, text)))
        except OSError as error:
            # Nobody opens what is on trial in the pointer alone, so the old one runs all the same.
            _warn(error)
        return text

    def _judge(self, package: Package) -> None:
        """Called in the inbox's thread, while nothing is staged or on trial.

        Raises:
            UpdateError: an older package, or an older version of the model that runs.
        """
        pointer, head = self._slots.pointer, package.head
        running = self._opened.models.classifier.manifest
        if pointer.committed is not None and pointer.committed.package == package.id:
            raise UpdateError(f"{head.identity} is installed already")
        if head.counter <= pointer.counter:
            raise UpdateError(f"its counter {head.counter} is not above {pointer.counter}, the last one here: an older package")
        present, offered = version_numbers(running.version), version_numbers(head.version)
        if head.name == running.name and present is not None and offered is not None and offered < present:
            raise UpdateError(f"{head.name} {head.version} is older than {running.version}, which runs: a downgrade is refused")

    @property
    def _running(self) -> str:
        return self._opened.models.classifier.manifest.identity

    def _answer(self, package: str | None, error: str | None, token: str | None) -> None:
        """Called from both threads."""
        transfer, trial, pointer = self._inbox.transfer, self._trial, self._slots.pointer
        progress = Progress(
            phase="trial" if trial is not None else self._inbox.phase,
            running=self._running,
            counter=pointer.counter,
            package=package,
            committed=pointer.committed,
            outcome=pointer.outcome,
            token=token,
        )
        if transfer is not None and transfer.package.id == package:
            progress = replace(progress, next=transfer.next, chunks=transfer.package.head.chunks, again=transfer.again)
        self._tell(msgspec.to_builtins(progress), error)


def _warn(error: OSError) -> None:
    log.warning("update: the pointer cannot be written (%s)", error.strerror)
