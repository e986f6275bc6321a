"""The second rung: tf-keras, the kept Keras 2, in a child process that hands back a SavedModel.

In a child, because a crash in an old file's code must not take the conversion with it, and because tf-keras and Keras 3
register their own classes and patches with the one TensorFlow of a process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from edge.errors import DataError, first_line

INSTALL = "pip install --no-deps tf-keras"
TIMEOUT = 600.0
RESULT = "result.json"


def export_with_keras2(path: Path, folder: Path) -> str:
    """Have tf-keras load a file and write it as a SavedModel.

    Args:
        path: the Keras file; its config must have been checked for code, tf-keras runs it without asking.
        folder: empty; the SavedModel is written to `folder/model`.

    Returns:
        tf-keras' name and version.

    Raises:
        DataError: tf-keras is not installed, or cannot load the file either.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    # The child has its own Keras; ours must not choose for it.
    environment.pop("KERAS_BACKEND", None)
    command = [sys.executable, "-m", "converters.loading.keras2", str(path.resolve()), str(folder)]
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
    return str(answer["loader"])


def _child(path: Path, folder: Path) -> dict[str, str]:
    try:
        import tf_keras
    except ImportError:
        return {"error": f"files of Keras 2 load with tf-keras: {INSTALL}"}
    import tensorflow as tf

    try:
        model = tf_keras.models.load_model(path, compile=False)
        module = tf.Module()
        module.model = model
        signature = [tf.TensorSpec(tensor.shape, tensor.dtype, name=f"input_{i}") for i, tensor in enumerate(model.inputs)]
        call = tf.function(lambda *tensors: model(tensors[0] if len(tensors) == 1 else tensors, training=False))
        tf.saved_model.save(module, str(folder / "model"), signatures=call.get_concrete_function(*signature))
    except Exception as error:  # noqa: BLE001  a foreign file may make tf-keras raise anything
        return {"error": f"tf-keras: {first_line(error)}"}
    return {"loader": f"tf-keras {tf_keras.__version__} (child process)"}


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    (target / RESULT).write_text(json.dumps(_child(source, target)))
