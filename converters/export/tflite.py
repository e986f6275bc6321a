"""A float network -> TFLite, by TensorFlow's own converter."""

from __future__ import annotations

from pathlib import Path

from converters.loading.model import FloatModel
from converters.quiet import import_tensorflow, quiet
from edge.emotion.manifest import Quantization
from edge.errors import DataError, first_line


def save_fixed(model: FloatModel, height: int, width: int, folder: Path) -> None:
    """Write the network as a SavedModel that takes one picture of one size.

    A fixed shape keeps shape arithmetic out of the TFLite graph; from a SavedModel the converter folds all weights.

    Args:
        model: the network.
        height: of its input, in pixels.
        width: of its input, in pixels.
        folder: empty.

    Raises:
        DataError: the network cannot be traced at this size.
    """
    tf, _ = import_tensorflow()
    module = tf.Module()
    module.keep = model.keep
    signature = tf.TensorSpec((1, height, width, model.channels), tf.float32, name="image")
    try:
        with quiet():
            function = tf.function(lambda image: tf.cast(model.call(image), tf.float32)).get_concrete_function(signature)
            tf.saved_model.save(module, str(folder), signatures=function)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise DataError(f"{model.path}: cannot be run on one {height}x{width} picture ({first_line(error)})") from None


def to_tflite(folder: Path, quantization: Quantization) -> bytes:
    """Convert a SavedModel; INT8 is made of the float32 result (`converters.compress.quantize`).

    Args:
        folder: from `save_fixed`.
        quantization: `float32`, or what the weights become: `float16`, `int8-dynamic`.

    Returns:
        The content of a .tflite file, its tensors named after the layers that they come from.

    Raises:
        DataError: TFLite has no such operator.
    """
    tf, _ = import_tensorflow()
    try:
        with quiet():
            converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
            if quantization != "float32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if quantization == "float16":
                converter.target_spec.supported_types = [tf.float16]
            return bytes(converter.convert())
    except Exception as error:  # noqa: BLE001  the converter raises its own kind, ValueError, RuntimeError or a bare Exception
        raise DataError(f"TFLite cannot take this network as {quantization} ({first_line(error)})") from None
