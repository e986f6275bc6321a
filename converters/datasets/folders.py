"""A folder of images by class: `folder/happy/001.jpg`, in any depth below the class.

The held-out fifth is chosen by a hash of the file name, so that it stays the same when files are added or moved, on
every machine and in every run.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.datasets.align import find_class
from converters.datasets.types import Dataset, Split
from edge.errors import DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".pgm", ".ppm", ".tif", ".tiff"})
HELD_OUT_SHARE = 0.2
SEED = "emotion-edge"


def read_folder(path: Path, labels: tuple[str, ...]) -> Dataset:
    """Read every picture below `path`; sub-folders are classes, pictures right in it are unlabelled.

    A `train` and a `test` (or `validation`) folder, as most downloads have them, are both read and split anew.

    Raises:
        DataError: no picture at all, a class folder that is not among `labels`, or a picture that cannot be read.
    """
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise DataError(f"{path}: no pictures here; expected folders named like the classes ({', '.join(labels)})")
    classes = {file: _class_of(file.relative_to(path)) for file in files}
    labelled = any(name is not None for name in classes.values())
    train: tuple[list[NDArray[np.uint8]], list[int]] = ([], [])
    held: tuple[list[NDArray[np.uint8]], list[int]] = ([], [])
    for file, name in classes.items():
        images, indices = held if is_held_out(file.name) else train
        images.append(_read(file))
        if labelled:
            indices.append(_index(name, file, path, labels))
    parts = [Split(images, np.array(indices, dtype=np.int64) if labelled else None) for images, indices in (train, held)]
    return Dataset(path.name, labels, parts[0], parts[1], "held-out 20 %", "other 80 %")


def is_held_out(name: str) -> bool:
    """Whether a file of this name belongs to the held-out fifth."""
    digest = hashlib.sha256(f"{SEED}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < HELD_OUT_SHARE * 2**64


def _class_of(relative: Path) -> str | None:
    folders = [part.lower() for part in relative.parts[:-1]]
    if folders and folders[0] in {"train", "training", "test", "testing", "val", "valid", "validation"}:
        folders = folders[1:]
    return folders[0] if folders else None


def _index(name: str | None, file: Path, root: Path, labels: tuple[str, ...]) -> int:
    if name is None:
        raise DataError(f"{file}: lies outside the class folders of {root}; move it into one")
    index = find_class(name, labels)
    if index is not None:
        return index
    raise DataError(
        f"{root}: folder {name!r} is not a class of this network; its classes are {', '.join(labels)} "
        "(--labels, or labels in the recipe)"
    )


def _read(file: Path) -> NDArray[np.uint8]:
    # imdecode instead of imread: it takes any file name, and prints nothing of its own.
    data = np.fromfile(file, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_ANYCOLOR) if data.size else None
    if image is None:
        raise DataError(f"{file}: not a picture that OpenCV can read")
    return image.astype(np.uint8, copy=False)
