"""Labelled faces, whatever they are stored in.

`open_dataset(path)` tells the Kaggle csv, the npz and a folder of images by class apart.
"""

from __future__ import annotations

from pathlib import Path

from converters.datasets.types import FER2013_LABELS, Dataset, Split
from edge.errors import DataError

__all__ = ["FER2013_LABELS", "Dataset", "Split", "open_dataset", "require"]


def require(path: Path) -> None:
    """Refuse a path that is not there, before anything slow begins.

    Raises:
        DataError: it is missing.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; give a fer2013.csv, an .npz or a folder of images by class")


def open_dataset(path: Path, labels: tuple[str, ...] = FER2013_LABELS) -> Dataset:
    """Read a data set into memory.

    Args:
        path: a `fer2013.csv` (emotion,pixels,Usage), an `.npz` with `train_images`, or a folder of images by class.
        labels: class names in the order of the model's outputs; folders are matched to them by name.

    Raises:
        DataError: the path is missing, of an unknown kind, empty or broken.
    """
    require(path)
    if path.is_dir():
        from converters.datasets.folders import read_folder

        return read_folder(path, labels)
    from converters.datasets.fer2013 import read_csv, read_npz

    match path.suffix.lower():
        case ".csv":
            return read_csv(path)
        case ".npz":
            return read_npz(path)
    raise DataError(f"{path}: not a data set that is known here; give a .csv, an .npz or a folder of images by class")
