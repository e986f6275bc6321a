"""The run folder: one recipe, one log, the last and the best checkpoint, each replaced whole or not at all."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from converters.describe import Description, sidecar, sidecar_path
from converters.quiet import quiet
from converters.recipe import Recipe
from converters.training.examples import input_spec
from edge.errors import DataError


class Epoch(NamedTuple):
    """One line of `log.csv`; accuracies are fractions of the averaged weights, single crop."""

    epoch: int
    loss: float
    train_accuracy: float
    held_out_accuracy: float
    held_out_macro_recall: float
    seconds: float


class Claim(msgspec.Struct, frozen=True):
    """Whose folder it is: `recipe.json`.

    Attributes:
        recipe: what is trained; a key that a later version adds has its default here.
        origins: sha256 of the data, and of the network it starts from and its teachers where there are any.
    """

    recipe: Recipe
    origins: dict[str, str]


class Run:
    """What a run keeps in its folder: `recipe.json`, `log.csv`, `last.weights.h5`, `best.keras` and, for those who use that,
    `best.toml`.
    """

    def __init__(self, folder: Path, recipe: Recipe, origins: dict[str, str]) -> None:
        """Claim the folder.

        Args:
            folder: created when missing.
            recipe: what is trained.
            origins: see `Claim`.

        Raises:
            DataError: the folder cannot be made, or holds a run of another recipe or origin, or the rest of one.
        """
        self.folder = folder
        self.last, self.best, self._log = folder / "last.weights.h5", folder / "best.keras", folder / "log.csv"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{folder}: the run folder cannot be made ({error.strerror}); give another --run") from None
        self.history = self._read_log()
        mine, copy = Claim(recipe, origins), folder / "recipe.json"
        if copy.exists() and (self.last.exists() or self.history):
            _compare(copy, mine)
        # One line without a checkpoint is a run that ended while it wrote its first; more than one has lost it.
        if len(self.history) > 1 and not self.last.exists():
            raise DataError(
                f"{folder}: {self.last.name} is gone, so this run cannot go on; give another --run or remove the folder"
            )
        if not self.last.exists():
            self._put(copy, msgspec.json.format(msgspec.json.encode(mine)))
        if not sidecar_path(self.best).exists():
            spec = input_spec(recipe.size)
            said = Description(recipe.labels, spec.color, spec.mean, spec.scale, name=recipe.name)
            self._put(sidecar_path(self.best), sidecar(said))

    def resume(self, epochs: int) -> None:
        """Go on after so many epochs; a line logged after the last checkpoint is trained again.

        Raises:
            DataError: the checkpoint is further than the log.
        """
        if len(self.history) < epochs:
            raise DataError(
                f"{self._log}: has {len(self.history)} epochs, {self.last.name} has done {epochs}; "
                "put the log back, or give another --run"
            )
        self.history = self.history[:epochs]
        self._write_log()

    def add(self, line: Epoch) -> None:
        self.history.append(line)
        self._write_log()

    @property
    def best_so_far(self) -> float:
        return max((line.held_out_accuracy for line in self.history), default=-1.0)

    def keep(self, save: Callable[[Path], None], path: Path) -> None:
        """Write beside, then rename: a kill or a full disk at any moment leaves a whole checkpoint.

        Raises:
            DataError: it cannot be written; what was there before is there still.
        """
        temporary = path.with_name(f"writing-{path.name}")
        try:
            with quiet():
                save(temporary)
            temporary.replace(path)
        # h5py raises RuntimeError or ValueError when the file under it cannot grow.
        except (OSError, RuntimeError, ValueError) as error:
            temporary.unlink(missing_ok=True)
            kept = "the one before is kept" if path.exists() else "there is none before it"
            raise DataError(f"{path}: cannot be written ({error}); {kept}. Make room and give the same command again") from None

    def _put(self, path: Path, content: bytes) -> None:
        self.keep(lambda temporary: _write(temporary, content), path)

    def _read_log(self) -> list[Epoch]:
        if not self._log.exists():
            return []
        try:
            with self._log.open(newline="") as file:
                return [Epoch(int(row[0]), *map(float, row[1:])) for row in list(csv.reader(file))[1:]]
        except (OSError, ValueError, TypeError, IndexError) as error:
            raise DataError(f"{self._log}: not the log of a run ({error}); give another --run") from None

    def _write_log(self) -> None:
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(Epoch._fields)
        rows.writerows([line.epoch, *(f"{value:.5f}" for value in line[1:])] for line in self.history)
        self._put(self._log, text.getvalue().encode())


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _compare(copy: Path, mine: Claim) -> None:
    try:
        theirs = msgspec.json.decode(copy.read_bytes(), type=Claim)
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"{copy}: cannot be read ({error}); give another --run folder or remove {copy.parent}") from None
    if theirs == mine:
        return
    other = [name for name in ("data", "start", "teachers") if theirs.origins.get(name) != mine.origins.get(name)]
    what = "another recipe" if theirs.recipe != mine.recipe else f"the same recipe with other {' and '.join(other) or 'origins'}"
    raise DataError(f"{copy.parent} holds a run of {what}; give another --run folder or remove it")
