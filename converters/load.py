"""A file or folder -> the float network, by a ladder: read the config, then Keras 3, then tf-keras, then say why not."""

from __future__ import annotations

import logging
import re
import tempfile
from pathlib import Path

from converters.loading.files import KINDS, read_config
from converters.loading.layers import refuse_lambda, refuse_unknown
from converters.loading.model import FloatModel
from edge.errors import DataError

__all__ = ["FloatModel", "load_model"]

log = logging.getLogger(__name__)


def load_model(path: Path, allow_lambda: bool = False, custom: Path | None = None) -> FloatModel:
    """Load a Keras .h5, .hdf5 or .keras file or a SavedModel folder. No code of the file runs unless allowed.

    Args:
        path: the file or folder.
        allow_lambda: build Lambda layers, which run Python code that is inside the file.
        custom: the user's own Python file with the classes that the model needs; it is run.

    Raises:
        DataError: one sentence that says what the file is instead, or which layer cannot be built.
        RuntimeMissingError: TensorFlow or Keras is not installed.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; {KINDS}")
    if path.is_dir():
        from converters.loading.saved_model import load_saved_model

        return load_saved_model(path)
    config = read_config(path)
    if not allow_lambda:
        refuse_lambda(path, config)

    from converters.loading.keras3 import load_keras3, read_custom
    from converters.quiet import import_tensorflow

    _, keras = import_tensorflow()
    objects = read_custom(custom)
    refuse_unknown(path, config, keras, objects)
    try:
        return load_keras3(path, config, objects, allow_lambda)
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001  Keras raises anything from TypeError to its own kinds on an old file
        reason = _reason(error)
        log.info("%s: Keras %s cannot load it (%s); trying tf-keras", path, keras.__version__, reason)
        if objects:
            raise DataError(f"{path}: Keras {keras.__version__} cannot load it with the classes of {custom} ({reason})") from None
    return _load_keras2(path, f"Keras {keras.__version__}: {reason}")


def _load_keras2(path: Path, before: str) -> FloatModel:
    from dataclasses import replace

    from converters.loading.keras2 import export_with_keras2
    from converters.loading.saved_model import load_saved_model

    with tempfile.TemporaryDirectory(prefix="edge-convert-") as folder:
        try:
            loader = export_with_keras2(path, Path(folder))
            # Loading reads all weights into memory, so the folder may go.
            model = load_saved_model(Path(folder) / "model", loader)
        except DataError as error:
            raise DataError(f"{path}: cannot be loaded ({before}); {str(error).replace(folder, '')}") from None
    return replace(model, path=path)


def _reason(error: Exception) -> str:
    """Keras' messages hold whole configs; the class and the name of the layer are what a person needs."""
    text = " ".join(str(error).split()) or type(error).__name__
    kind = re.search(r"class '?(\w+)'?", text) or re.search(r"'class_name': '(\w+)'", text)
    name = re.search(r"'name': '([^']+)'", text)
    layer = f"layer {name[1]!r}" + (f" of class {kind[1]}" if kind else "") + ": " if name else ""
    return layer + text[:140].rstrip() + ("…" if len(text) > 140 else "")
