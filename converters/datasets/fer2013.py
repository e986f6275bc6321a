"""FER2013 as people have it: the Kaggle csv, or an npz with the same pixels.

The csv has the columns emotion,pixels,Usage: 0..6, 48*48 numbers separated by blanks, and Training, PublicTest or
PrivateTest. PrivateTest is never read: this project selects on PublicTest and leaves the last split untouched.
"""

from __future__ import annotations

import csv
import dataclasses
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.datasets.types import FER2013_LABELS, Dataset, Split
from converters.datasets.votes import CHOICES, read_votes
from edge.errors import DataError

SIDE = 48


def read_csv(path: Path) -> Dataset:
    """Read the Kaggle `fer2013.csv`, and the crowd's votes where FER+'s `fer2013new.csv` lies beside it.

    Raises:
        DataError: a row is broken; its row number (the header is row 1) is named.
    """
    parts: dict[str, tuple[list[NDArray[np.uint8]], list[int]]] = {"Training": ([], []), "PublicTest": ([], [])}
    usages: list[str] = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = csv.reader(file)
        header = [cell.strip().lower() for cell in next(rows, [])]
        if header[:2] != ["emotion", "pixels"] or "usage" not in header:
            raise DataError(f"{path}: row 1 should read emotion,pixels,Usage; this is not the Kaggle fer2013.csv")
        usage_column = header.index("usage")
        for row in _rows(rows, path):
            if not row:
                continue
            where = f"{path}: row {rows.line_num}"
            if len(row) != len(header):
                raise DataError(f"{where} has {len(row)} columns, expected {len(header)}")
            usage = row[usage_column].strip()
            usages.append(usage)
            if usage == "PrivateTest":
                continue
            if usage not in parts:
                raise DataError(f"{where}: Usage is {usage!r}; known are Training, PublicTest and PrivateTest")
            images, labels = parts[usage]
            images.append(_pixels(row[1], where))
            labels.append(_label(row[0], where))
    beside = path.with_name("fer2013new.csv")
    votes: dict[str, NDArray[np.int8]] = {}
    problem = None
    if beside.is_file():
        # Votes that do not fit are a problem for those who want them only.
        try:
            votes = read_votes(beside, usages)
        except DataError as error:
            problem = str(error)
    data = _dataset(path, *(_split(*parts[usage], votes.get(usage)) for usage in ("Training", "PublicTest")))
    return data if problem is None else dataclasses.replace(data, no_votes=problem)


def read_npz(path: Path) -> Dataset:
    """Read an npz with `train_images`, `train_labels`, `public_images`, `public_labels` (uint8).

    Raises:
        DataError: the file is not an npz, or an array is missing or misshapen.
    """
    try:
        with np.load(path) as arrays:
            parts = [
                Split(arrays[f"{part}_images"], arrays[f"{part}_labels"].astype(np.int64), arrays.get(f"{part}_votes"))
                for part in ("train", "public")
            ]
    # What numpy raises on files that are no npz: an empty one, an .npy under another name, a damaged member.
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as an .npz ({error or type(error).__name__})") from None
    except KeyError as error:
        raise DataError(f"{path}: {error.args[0]}; needed are train_images, train_labels, public_images, public_labels") from None
    for split in parts:
        if split.votes is not None and (split.votes.shape != (len(split), len(CHOICES)) or split.votes.dtype.kind != "i"):
            raise DataError(
                f"{path}: votes should be whole numbers ({len(split)}, {len(CHOICES)}), "
                f"found {split.votes.dtype} {split.votes.shape}"
            )
        images, labels = np.asarray(split.images), split.labels
        assert labels is not None
        shaped = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
        if images.dtype != np.uint8 or not shaped or labels.shape != images.shape[:1]:
            raise DataError(
                f"{path}: images should be uint8 (N, H, W) or (N, H, W, 3) with labels (N,), "
                f"found {images.dtype} {images.shape} with {labels.shape}"
            )
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(FER2013_LABELS):
            raise DataError(f"{path}: labels should be 0..{len(FER2013_LABELS) - 1}, found {labels.min()}..{labels.max()}")
    return _dataset(path, *parts)


def _rows(rows: Any, path: Path) -> Iterator[list[str]]:
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{path}: row {rows.line_num}: {error}; a quotation mark that is never closed?") from None


def _pixels(text: str, where: str) -> NDArray[np.uint8]:
    try:
        values = np.array(text.split(), dtype=np.int64)
    except (ValueError, OverflowError):
        raise DataError(f"{where}: pixels should be whole numbers separated by blanks") from None
    if values.size != SIDE * SIDE:
        raise DataError(f"{where}: {values.size} pixels, expected {SIDE * SIDE}")
    if values.min() < 0 or values.max() > 255:
        raise DataError(f"{where}: pixels should lie in 0..255, found {values.min()}..{values.max()}")
    return values.astype(np.uint8).reshape(SIDE, SIDE)


def _label(text: str, where: str) -> int:
    if text.strip() not in {"0", "1", "2", "3", "4", "5", "6"}:
        raise DataError(f"{where}: emotion is {text!r}, expected 0..6")
    return int(text)


def _split(images: list[NDArray[np.uint8]], labels: list[int], votes: NDArray[np.int8] | None) -> Split:
    stacked = np.stack(images) if images else np.empty((0, SIDE, SIDE), np.uint8)
    return Split(stacked, np.array(labels, dtype=np.int64), votes)


def _dataset(path: Path, train: Split, public: Split) -> Dataset:
    if not len(train) or not len(public):
        raise DataError(f"{path}: {len(train)} Training and {len(public)} PublicTest rows; both are needed")
    return Dataset("FER2013", FER2013_LABELS, train, public, "PublicTest")
