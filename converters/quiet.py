"""TensorFlow without its chatter: a user of edge-convert sees our lines, not those of its C++ logs."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge.errors import RuntimeMissingError


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send the process's standard error to nowhere and hide warnings of other people's packages.

    The file descriptor is redirected, because TensorFlow, its converter and XNNPACK write to it from C++.
    """
    saved = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def import_tensorflow() -> tuple[Any, Any]:
    """Import TensorFlow and Keras 3 on it, quietly.

    Returns:
        The modules `tensorflow` and `keras`.

    Raises:
        RuntimeMissingError: one of them is not installed, or Keras runs on another backend already.
    """
    # Both are read once, at the first import.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        with quiet():
            import keras
            import tensorflow
    except ImportError as error:
        raise RuntimeMissingError(
            f"converting needs TensorFlow and Keras: pip install 'emotion-edge[convert]' ({error})"
        ) from None
    if keras.backend.backend() != "tensorflow":
        raise RuntimeMissingError(f"Keras runs on {keras.backend.backend()} here; set KERAS_BACKEND=tensorflow to convert")
    return tensorflow, keras
