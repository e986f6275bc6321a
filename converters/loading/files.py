"""What a Keras file says about itself, read before any of it is run: the network's config, or a plain reason why not."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any, NoReturn

from edge.errors import DataError, RuntimeMissingError, first_line

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
KINDS = "give a Keras .h5, .hdf5 or .keras file or a SavedModel folder"
# What Keras writes beside a network's own weights.
_NOT_WEIGHTS = ("optimizer", "metrics", "seed_generator", "loss_tracker", "_random_generator")


def read_config(path: Path) -> dict[str, Any] | None:
    """Read the network's config from a .h5, .hdf5 or .keras file without building anything.

    Returns:
        The config, with the version of Keras that wrote it as `keras_version` where the file tells; None where the file
        holds weights alone.

    Raises:
        DataError: the file is no Keras file, or is cut short.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    suffix = path.suffix.lower()
    if head == HDF5_SIGNATURE:
        return _hdf5_config(path) if suffix in {".h5", ".hdf5"} else _misnamed(path, ".h5")
    if head.startswith(b"PK"):
        config = _keras_config(path)
        return config if suffix == ".keras" else _misnamed(path, ".keras")
    if not head:
        raise DataError(f"{path}: the file is empty; copy or download it again")
    if suffix in {".h5", ".hdf5", ".keras"}:
        raise DataError(f"{path}: not a Keras file in spite of its name (it starts with {head!r}); {KINDS}")
    if suffix == ".json":
        raise DataError(f"{path}: a network without weights; give the file of weights, and this one with --architecture")
    raise DataError(f"{path}: not a Keras file; {KINDS}")


def parse_config(path: Path, content: str | bytes) -> dict[str, Any]:
    """Read a config from JSON.

    Raises:
        DataError: it is not JSON, or another thing than a Keras config.
    """
    try:
        config = json.loads(content)
    except ValueError as error:
        raise DataError(f"{path}: the network's description in it is damaged ({first_line(error)}); save it again") from None
    if not isinstance(config, dict) or "class_name" not in config or "config" not in config:
        raise DataError(f"{path}: the network's description in it is no Keras config; save the model again")
    return config


def is_legacy(path: Path) -> bool:
    """Whether an HDF5 file holds its weights as Keras 1 and 2 wrote them, by layers in order; else by Keras 3's paths."""
    h5py = _h5py(path)
    with h5py.File(path, "r") as file:
        return "layer_names" in file.attrs or "model_weights" in file


def stored_numbers(path: Path) -> int:
    """How many numbers a `.weights.h5` holds for the network itself, without optimizer, metrics and random states."""
    h5py = _h5py(path)
    total = 0

    def add(name: str, item: Any) -> None:
        nonlocal total
        if isinstance(item, h5py.Dataset) and not any(part.startswith(_NOT_WEIGHTS) for part in name.split("/")):
            total += int(item.size)

    with h5py.File(path, "r") as file:
        file.visititems(add)
    return total


def _hdf5_config(path: Path) -> dict[str, Any] | None:
    h5py = _h5py(path)
    try:
        with h5py.File(path, "r") as file:
            config, version = (file.attrs.get(name) for name in ("model_config", "keras_version"))
            weights = "layer_names" in file.attrs or {"layers", "model_weights", "_layer_checkpoint_dependencies"} & set(file)
    except (OSError, RuntimeError, KeyError) as error:
        raise DataError(f"{path}: damaged or cut short; copy or download it again ({first_line(error)})") from None
    if config is None and weights:
        return None
    if config is None:
        raise DataError(f"{path}: an HDF5 file without a Keras model in it; {KINDS}")
    text = version.decode() if isinstance(version, bytes) else version
    return {"keras_version": text, **parse_config(path, config)}


def _keras_config(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            content = archive.read("config.json")
            metadata = json.loads(archive.read("metadata.json")) if "metadata.json" in archive.namelist() else {}
    except (zipfile.BadZipFile, ValueError) as error:
        raise DataError(f"{path}: damaged or cut short; copy or download it again ({first_line(error)})") from None
    except KeyError:
        raise DataError(f"{path}: a zip file without Keras' config.json; {KINDS}") from None
    return {"keras_version": metadata.get("keras_version"), **parse_config(path, content)}


def _h5py(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise RuntimeMissingError(f"reading {path.name} needs h5py: pip install 'emotion-edge[convert]' ({error})") from None
    return h5py


def _misnamed(path: Path, suffix: str) -> NoReturn:
    raise DataError(f"{path}: its content is that of a {suffix} file; rename it to {path.with_suffix(suffix).name}")
