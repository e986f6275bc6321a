"""The run folder: one recipe, one log, the last and the best checkpoint, each replaced whole or not at all."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Sequence
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


def digest(path: Path) -> str:
    """sha256 of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


class Run:
    """What a run keeps in its folder: `recipe.json`, `log.csv`, `last.weights.h5`, `best.keras` and, for those who use that,
    `best.toml`.
    """

    def __init__(self, folder: Path, recipe: Recipe, origins: Sequence[str] = ()) -> None:
        """Claim the folder.

        Args:
            folder: created when missing.
            recipe: what is trained.
            origins: hashes of what it goes on from or learns from; another one is another run.

        Raises:
            DataError: the folder cannot be made, or holds a run of another recipe or origin.
        """
        self.folder = folder
        self.last, self.best, self._log = folder / "last.weights.h5", folder / "best.keras", folder / "log.csv"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{folder}: the run folder cannot be made ({error.strerror}); give another --run") from None
        claim = {"recipe": recipe, "origins": origins}
        mine, copy = msgspec.json.format(msgspec.json.encode(claim)), folder / "recipe.json"
        if self.last.exists() and copy.exists() and copy.read_bytes() != mine:
            raise DataError(f"{folder} holds a run of another recipe; give another --run folder or remove it")
        copy.write_bytes(mine)
        spec = input_spec(recipe.size)
        said = Description(recipe.labels, spec.color, spec.mean, spec.scale, name=recipe.name)
        sidecar_path(self.best).write_bytes(sidecar(said))
        self.history: list[Epoch] = []

    def resume(self, epochs: int) -> None:
        """Go on after so many epochs; a line logged after the last checkpoint is trained again."""
        self.history = self._read_log()[:epochs]
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
            kept = f"the one before is kept ({len(self.history)} epochs)" if path.exists() else "there is none before it"
            raise DataError(f"{path}: this checkpoint cannot be written ({error}); {kept}. Make room and run again") from None

    def _read_log(self) -> list[Epoch]:
        if not self._log.exists():
            return []
        with self._log.open(newline="") as file:
            return [Epoch(int(row[0]), *map(float, row[1:])) for row in list(csv.reader(file))[1:]]

    def _write_log(self) -> None:
        temporary = self._log.with_name(f"writing-{self._log.name}")
        try:
            with temporary.open("w", newline="") as file:
                rows = csv.writer(file, lineterminator="\n")
                rows.writerow(Epoch._fields)
                rows.writerows([line.epoch, *(f"{value:.5f}" for value in line[1:])] for line in self.history)
            temporary.replace(self._log)
        except OSError as error:
            raise DataError(f"{self._log}: cannot be written ({error.strerror}); the last checkpoint is kept") from None
