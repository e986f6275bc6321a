"""The user's own Python files: classes of layers, or a function that builds the network. They are run because they are given."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

from edge.errors import DataError


def read_custom(path: Path | None) -> dict[str, Any]:
    """Run the user's own Python file and take its classes and functions by their names.

    Raises:
        DataError: the file is missing or cannot be run.
    """
    if path is None:
        return {}
    if not path.is_file():
        raise DataError(f"{path}: no such Python file; --custom-objects names the file that defines the model's own layers")
    module = run_file(path, "custom_objects")
    return own_names(module)


def run_file(path: Path, name: str) -> Any:
    """Run a Python file as a module of the given name.

    Raises:
        DataError: it is no Python file, or raises anything.
    """
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise DataError(f"{path}: not a Python file; give one whose name ends in .py")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and Keras' own registration look a class's module up by its name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001  the user's own code may raise anything
        raise DataError(f"{path}: cannot be run ({type(error).__name__}: {error})") from None
    return module


def own_names(module: Any) -> dict[str, Any]:
    """The classes and functions that a module defines itself, by their names."""
    return {
        name: item
        for name, item in vars(module).items()
        if (inspect.isclass(item) or inspect.isfunction(item)) and item.__module__ == module.__name__
    }
