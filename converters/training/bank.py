"""The bank: the teachers' answers on the very views that a student will see, so that a student's epoch costs no teacher.

A view depends on a seed, its number and the picture's place alone (datasets/augment.py), so the teachers answer once, and
students of any shape and seed learn from the same files. Teachers see the view without camera faults and unmixed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from converters.datasets.augment import Views, make_views
from converters.progress import Progress
from converters.recipe import Precision, Recipe
from converters.training.examples import Examples, draw, normalise
from edge.errors import DataError

BATCH = 512


@dataclass(frozen=True, slots=True)
class Bank:
    """Logits of the teachers, centred and averaged.

    Attributes:
        logits: float16 (views, N, classes); the mean over the classes is zero.
        key: of the teachers, the pictures and the views.
    """

    logits: NDArray[np.float16]
    key: str

    @property
    def views(self) -> int:
        return len(self.logits)

    def softened(self, view: int, rows: NDArray[np.int64], temperature: float) -> NDArray[np.float32]:
        """The teachers' probabilities at a temperature: float32 (M, classes)."""
        scores = self.logits[view, rows].astype(np.float32) / np.float32(temperature)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


def open_bank(teachers: Sequence[Path], examples: Examples, recipe: Recipe, folder: Path, track: Progress) -> Bank:
    """Read the bank, and let the teachers answer where it has nothing yet.

    Args:
        teachers: Keras files of networks that take what the recipe's network takes, for instance `best.keras` of a run.
        examples: the pictures.
        recipe: its `distill` says how many views, its `augment` which ones.
        folder: where banks are kept, one sub-folder each; a view is one file of 14 bytes a picture (seven classes), so
            what is there stays when a longer training asks for more.
        track: shows progress over the views.

    Raises:
        DataError: a teacher cannot be read or does not fit, or the folder cannot be written.
    """
    assert recipe.distill is not None
    key = _key(teachers, examples, recipe)
    home = folder / key
    files = [home / f"view-{view:04}.npy" for view in range(recipe.distill.views)]
    missing = [view for view, file in enumerate(files) if not file.exists()]
    if missing:
        networks = [_logits_of(path, examples, recipe.labels, recipe.distill.precision) for path in teachers]
        try:
            home.mkdir(parents=True, exist_ok=True)
            for view in track(missing, "views seen by the teacher"):
                _write(_answers(networks, examples, draw(examples, recipe, view)), files[view])
        except OSError as error:
            raise DataError(f"{home}: the bank cannot be written ({error.strerror}); make room or give another --bank") from None
    return Bank(np.stack([_read(file, (len(examples.images), examples.classes)) for file in files]), key)


def _key(teachers: Sequence[Path], examples: Examples, recipe: Recipe) -> str:
    assert recipe.distill is not None
    seen = msgspec.to_builtins(msgspec.structs.replace(recipe.augment, faults=0.0, mixup=0.0, cutmix=0.0))
    # A teacher does not see it, and the key is younger than the first banks: those stay good.
    del seen["overexposed"]
    parts = [
        msgspec.json.encode((seen, recipe.distill.seed, recipe.distill.precision, recipe.labels, cv2.__version__)),
        examples.images.tobytes(),
    ]
    try:
        parts += sorted(path.read_bytes() for path in teachers)
    except OSError as error:
        raise DataError(f"{error.filename}: this teacher cannot be read ({error.strerror})") from None
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:16]


def _answers(networks: Sequence[Any], examples: Examples, views: Views) -> NDArray[np.float16]:
    parts = []
    for start in range(0, len(examples.images), BATCH):
        rows = np.arange(start, min(start + BATCH, len(examples.images)))
        tensors = normalise(make_views(examples.images, rows, views))
        parts.append(np.mean([answer(tensors) for answer in networks], axis=0))
    return np.concatenate(parts).astype(np.float16)


def _logits_of(path: Path, examples: Examples, labels: Sequence[str], precision: Precision) -> Any:
    import keras

    from converters.networks.given import in_precision, load_given
    from converters.networks.logits import logits_of

    network = load_given(path, examples.shape, labels)
    if precision == "bfloat16":
        # Its largest logit is another one for 2 pictures in 1,000 then.
        network = in_precision(network, "mixed_bfloat16")
    logits = keras.Model(network.inputs, logits_of(network))

    def answer(tensors: NDArray[np.float32]) -> NDArray[np.float32]:
        values = np.asarray(logits.predict(tensors, batch_size=BATCH, verbose=0), np.float32)
        return values - values.mean(axis=1, keepdims=True)

    return answer


def _read(path: Path, shape: tuple[int, int]) -> NDArray[np.float16]:
    try:
        logits: NDArray[np.float16] = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: not a view of the bank ({error}); remove it, the teacher answers again then") from None
    if logits.shape != shape or logits.dtype != np.float16:
        raise DataError(f"{path}: holds {logits.dtype} {logits.shape}, expected float16 {shape}; remove it")
    return logits


def _write(logits: NDArray[np.float16], path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with temporary.open("wb") as file:
        np.save(file, logits)
    temporary.replace(path)
