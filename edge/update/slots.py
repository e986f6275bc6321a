"""The two places for models, and the pointer that says which one counts.

    models/a, models/b    each empty, or: seal, the model, its manifest
    models/pointer        JSON: what is kept, what was kept before, what is on trial; replaced as a whole

Order is everything. A slot is written only while the pointer does not name it; the pointer names it only when all of it is on
disk. So at every moment what the pointer names is whole, and an update that was cut off leaves nothing but a slot that nobody
looks at.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from edge.errors import UpdateError, first_line
from edge.update.disk import copy_synced, file_sha256, replace_durably, sync_folder, write_synced
from edge.update.package import Installed, Outcome, Package, open_seal

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

POINTER, SEAL = "pointer", "seal"
NAMES: tuple[Literal["a", "b"], ...] = ("a", "b")

log = logging.getLogger(__name__)


class Pointer(msgspec.Struct, frozen=True):
    """Which slot counts.

    Attributes:
        counter: the greatest one of all packages that were ever kept.
        committed: what runs for good; None when that is the model of the settings.
        previous: what was committed before, where its slot has not been used since.
        trial: what has to prove itself. Found at the start of a process it has not: the one before has ended in between.
        outcome: how the last update has ended.
    """

    v: Literal[1] = 1
    counter: int = 0
    committed: Installed | None = None
    previous: Installed | None = None
    trial: Installed | None = None
    outcome: Outcome | None = None


class Slots:
    """The folder `models` in the state folder.

    Args:
        folder: made when something is written.
        key: what every package must be signed with, at every start anew: with another key the old models are worth nothing.
    """

    def __init__(self, folder: Path, key: Ed25519PublicKey) -> None:
        self.folder, self._key = folder, key
        self.pointer = self._read()

    def write(self, pointer: Pointer) -> None:
        """Make another pointer count, on disk first.

        Raises:
            OSError: the old one still counts.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_durably(self.folder / POINTER, msgspec.json.encode(pointer))
        self.pointer = pointer

    def model(self, installed: Installed) -> Path:
        """The model of a slot, after its signature and both sha256 were found good.

        Raises:
            UpdateError: something does not fit.
        """
        folder = self.folder / installed.slot
        try:
            package = open_seal((folder / SEAL).read_bytes(), self._key)
            if package.id != installed.package:
                raise UpdateError(f"{folder}: holds another package than the pointer names")
            for entry in package.head.files:
                if file_sha256(folder / entry.name) != entry.sha256:
                    raise UpdateError(f"{folder / entry.name}: is damaged; pack the model again and push that")
        except OSError as error:
            raise UpdateError(
                f"{error.filename or folder}: cannot be read ({error.strerror}); pack the model again and push that"
            ) from None
        return folder / package.head.files[0].name

    def stage(self, package: Package, incoming: Path) -> Installed:
        """Put a package into the slot that does not count, whole and on disk.

        Args:
            incoming: the package as a file.

        Returns:
            What a pointer may name from now on.

        Raises:
            UpdateError: a file has another sha256 than was signed; the slot is empty then.
            OSError: it cannot be written.
        """
        pointer = self.pointer
        slot = next(name for name in NAMES if pointer.committed is None or pointer.committed.slot != name)
        if pointer.previous is not None or pointer.trial is not None:
            self.write(msgspec.structs.replace(pointer, previous=None, trial=None))
        folder = self.folder / slot
        self.discard(slot)
        folder.mkdir(parents=True)
        with incoming.open("rb") as source:
            source.seek(len(package.seal))
            for entry in package.head.files:
                if copy_synced(source, folder / entry.name, entry.size) != entry.sha256:
                    self.discard(slot)
                    raise UpdateError(
                        f"{entry.name} does not have the sha256 that was signed: it was damaged on the way; push it again"
                    )
        write_synced(folder / SEAL, package.seal)
        sync_folder(folder)
        sync_folder(self.folder)
        head = package.head
        return Installed(slot, package.id, head.counter, head.name, head.version, head.files[0].name)

    def discard(self, slot: str) -> None:
        """Empty a slot that the pointer does not name."""
        folder = self.folder / slot
        if folder.exists():
            shutil.rmtree(folder)

    def _read(self) -> Pointer:
        path = self.folder / POINTER
        try:
            return msgspec.json.decode(path.read_bytes(), type=Pointer)
        except FileNotFoundError:
            return Pointer()
        except OSError as error:
            raise UpdateError(f"{path}: cannot be read ({error.strerror}); give it to the user of the service") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("%s: is damaged (%s); the settings' model runs until a model is pushed", path, first_line(error))
            # Nobody may use the damage to bring back an old model.
            return Pointer(counter=max((self._counter(slot) for slot in NAMES), default=0))

    def _counter(self, slot: str) -> int:
        try:
            return open_seal((self.folder / slot / SEAL).read_bytes(), self._key).head.counter
        except (OSError, UpdateError):
            return 0
