"""What a Keras file says about itself, read before any of it is run: the network's config, or a plain reason why not."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from edge.errors import DataError, RuntimeMissingError, first_line

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
KINDS = "give a Keras .h5, .hdf5 or .keras file or a SavedModel folder"


def read_config(path: Path) -> dict[str, Any]:
    """Read the network's config from a .h5, .hdf5 or .keras file without building anything.

    Raises:
        DataError: the file is no Keras file, is cut short, or holds weights without a network.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    suffix = path.suffix.lower()
    if head == HDF5_SIGNATURE:
        return _object(path, _hdf5_config(path)) if suffix in {".h5", ".hdf5"} else _misnamed(path, ".h5")
    if head.startswith(b"PK"):
        return _object(path, _keras_config(path)) if suffix == ".keras" else _misnamed(path, ".keras")
    if not head:
        raise DataError(f"{path}: the file is empty; copy or download it again")
    if suffix in {".h5", ".hdf5", ".keras"}:
        raise DataError(f"{path}: not a Keras file in spite of its name (it starts with {head!r}); {KINDS}")
    raise DataError(f"{path}: not a Keras file; {KINDS}")


def _hdf5_config(path: Path) -> str | bytes:
    try:
        import h5py
    except ImportError as error:
        raise RuntimeMissingError(f"reading {path.name} needs h5py: pip install 'emotion-edge[convert]' ({error})") from None

    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
            weights = "layer_names" in file.attrs or {"layers", "model_weights", "_layer_checkpoint_dependencies"} & set(file)
    except (OSError, RuntimeError, KeyError) as error:
        raise DataError(f"{path}: damaged or cut short; copy or download it again ({first_line(error)})") from None
    if config is None and weights:
        raise DataError(f"{path}: holds weights without the network; save the whole model: model.save('model.keras')")
    if config is None:
        raise DataError(f"{path}: an HDF5 file without a Keras model in it; {KINDS}")
    assert isinstance(config, (str, bytes))
    return config


def _keras_config(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read("config.json")
    except zipfile.BadZipFile as error:
        raise DataError(f"{path}: damaged or cut short; copy or download it again ({first_line(error)})") from None
    except KeyError:
        raise DataError(f"{path}: a zip file without Keras' config.json; {KINDS}") from None


def _object(path: Path, config: str | bytes) -> dict[str, Any]:
    try:
        content = json.loads(config)
    except ValueError as error:
        raise DataError(f"{path}: the network's description in it is damaged ({first_line(error)})") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: the network's description in it is no Keras config")
    return content


def _misnamed(path: Path, suffix: str) -> dict[str, Any]:
    raise DataError(f"{path}: its content is that of a {suffix} file; rename it to {path.with_suffix(suffix).name}")
