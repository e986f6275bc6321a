"""The second rung: tf-keras, the kept Keras 2, in a child process that hands back a SavedModel.

In a child, because a crash in an old file's code must not take the conversion with it, and because tf-keras and Keras 3
register their own classes and patches with the one TensorFlow of a process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge.errors import DataError, first_line

INSTALL = "pip install --no-deps tf-keras"
TIMEOUT = 600.0
RESULT, REQUEST, MODEL = "result.json", "request.json", "model"


@dataclass(frozen=True, slots=True)
class Keras2Request:
    """What the child is to load.

    Attributes:
        path: the file, as an absolute path; its config must have been checked for code, tf-keras runs it without asking.
        config: of the network, for a file of weights; else None.
        custom: the user's own Python file, or None.
        allow_lambda: whether code inside the file may run.
        shape: height, width and channels, for a model that does not tell its own.
    """

    path: str
    config: dict[str, Any] | None
    custom: str | None
    allow_lambda: bool
    shape: Sequence[int] | None


def export_with_keras2(request: Keras2Request, folder: Path) -> tuple[str, list[str]]:
    """Have tf-keras load a file and write it as a SavedModel.

    Args:
        request: what to load.
        folder: empty; the SavedModel is written to `folder/model`.

    Returns:
        tf-keras' name and version; the names of the outputs in their order, which is not that of the SavedModel.

    Raises:
        DataError: tf-keras is not installed, or cannot load the file either.
    """
    # tf.keras of the user's own file is tf-keras there, too.
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1"}
    # The child has its own Keras; ours must not choose for it.
    environment.pop("KERAS_BACKEND", None)
    (folder / REQUEST).write_text(json.dumps(asdict(request)))
    command = [sys.executable, "-m", "converters.loading.keras2", str(folder)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=TIMEOUT, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise DataError(f"tf-keras did not load it within {TIMEOUT:.0f} s") from None
    result = folder / RESULT
    if not result.exists():
        raise DataError(f"tf-keras ended with status {done.returncode} while loading it")
    answer = json.loads(result.read_text())
    if "error" in answer:
        raise DataError(answer["error"])
    return str(answer["loader"]), list(answer["outputs"])


def _child(request: Keras2Request, folder: Path) -> dict[str, Any]:
    try:
        import tf_keras
    except ImportError:
        return {"error": f"files of Keras 2 load with tf-keras: {INSTALL}"}
    import tensorflow as tf

    try:
        model = _load(request, tf_keras)
        if model.inputs is None and request.shape is not None and len(request.shape) == 3:
            picture = tf_keras.Input(tuple(request.shape))
            model = tf_keras.Model(picture, model(picture, training=False))
        if not model.inputs:
            return {"error": "it does not say which pictures it takes; say it, with the channels: --shape 48x48x1"}
        names = list(model.output_names)
        # A graph of the flat list of outputs, in the order of the names, whatever the model itself gives.
        flat = tf_keras.Model(model.inputs, model.outputs)
        module = tf.Module()
        module.model = flat

        def serve(*tensors: Any) -> dict[str, Any]:
            values = tf.nest.flatten(flat(tensors[0] if len(tensors) == 1 else list(tensors), training=False))
            return {f"output_{number}": value for number, value in enumerate(values)}

        signature = [tf.TensorSpec(tensor.shape, tensor.dtype, name=f"input_{i}") for i, tensor in enumerate(model.inputs)]
        tf.saved_model.save(module, str(folder / MODEL), signatures=tf.function(serve).get_concrete_function(*signature))
    except DataError as error:
        return {"error": str(error)}
    except Exception as error:  # noqa: BLE001  a foreign file may make tf-keras raise anything
        return {"error": f"tf-keras: {first_line(error)}"}
    return {"loader": f"tf-keras {tf_keras.__version__} (child process)", "outputs": names}


def _load(request: Keras2Request, tf_keras: Any) -> Any:
    from converters.loading.custom import read_custom

    # A user's `import keras` means the Keras that the file was made with.
    sys.modules["keras"] = tf_keras
    custom = read_custom(Path(request.custom) if request.custom else None)
    path = Path(request.path)
    if request.config is None:
        return tf_keras.models.load_model(path, custom_objects=custom, compile=False, safe_mode=not request.allow_lambda)
    from converters.loading.keras3 import named_by_content

    model = tf_keras.models.model_from_json(json.dumps(request.config), custom_objects=custom)
    with named_by_content(path) as file:
        model.load_weights(file)
    return model


if __name__ == "__main__":
    place = Path(sys.argv[1])
    asked = Keras2Request(**json.loads((place / REQUEST).read_text()))
    (place / RESULT).write_text(json.dumps(_child(asked, place)))
