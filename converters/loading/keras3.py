"""The first rung: Keras 3, which reads .keras and most .h5 files of Keras 1 and 2 when it need not compile them."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from typing import Any

from converters.loading.layers import rescales
from converters.loading.model import FloatModel, check_shapes
from converters.quiet import import_tensorflow, quiet
from edge.errors import DataError


def read_custom(path: Path | None) -> dict[str, Any]:
    """Run the user's own Python file and take its classes and functions by their names.

    Raises:
        DataError: the file is missing or cannot be run.
    """
    if path is None:
        return {}
    import_tensorflow()
    try:
        spec = importlib.util.spec_from_file_location("custom_layers", path)
        if spec is None or spec.loader is None or not path.is_file():
            raise DataError(f"{path}: no such Python file; --custom names the file that defines the model's own layers")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001  the user's own code may raise anything
        raise DataError(f"{path}: cannot be run ({type(error).__name__}: {error})") from None
    return {
        name: item
        for name, item in vars(module).items()
        if (inspect.isclass(item) or inspect.isfunction(item)) and item.__module__ == module.__name__
    }


def load_keras3(path: Path, config: Any, custom: dict[str, Any], allow_lambda: bool) -> FloatModel:
    """Load without compiling.

    Raises:
        DataError: the network is not one picture -> one vector.
        Exception: whatever Keras raises when it cannot build the network or fill its weights.
    """
    _, keras = import_tensorflow()
    with quiet():
        model = keras.models.load_model(path, custom_objects=custom, compile=False, safe_mode=not allow_lambda)
    shapes = [tuple(tensor.shape) for tensor in model.inputs or ()], [tuple(tensor.shape) for tensor in model.outputs or ()]
    check_shapes(path, *shapes)
    batch, height, width, channels = shapes[0][0]
    return FloatModel(
        path,
        f"Keras {keras.__version__}",
        batch,
        height,
        width,
        channels,
        shapes[1][0][1],
        lambda tensor: model(tensor, training=False),
        # Keras 3's own variable objects are not what TensorFlow's SavedModel can track.
        (model, [variable.value for variable in model.variables]),
        rescales(config),
    )
