"""The first rung: Keras 3, which reads its own files, and those of Keras 1 and 2 when it need not compile them."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from converters.loading.files import is_legacy, stored_numbers
from converters.loading.layers import rescales
from converters.loading.mend import is_keras2, mended
from converters.loading.model import FloatModel, check_output, choose_output, settle_input
from converters.quiet import import_tensorflow, quiet
from edge.errors import DataError


def load_keras3(path: Path, config: dict[str, Any], custom: dict[str, Any], allow_lambda: bool) -> Any:
    """Load a whole file without compiling; a config of Keras 1 or 2 is mended first.

    Raises:
        Exception: whatever Keras raises when it cannot build the network or fill its weights.
    """
    _, keras = import_tensorflow()
    if not is_keras2(config):
        with quiet():
            return keras.models.load_model(path, custom_objects=custom, compile=False, safe_mode=not allow_lambda)
    model = build_keras3(config, custom, allow_lambda)
    fill(model, path)
    return model


def build_keras3(config: dict[str, Any], custom: dict[str, Any], allow_lambda: bool) -> Any:
    """Build the network of a config, with weights by chance.

    Raises:
        Exception: whatever Keras raises when it cannot build it.
    """
    _, keras = import_tensorflow()
    # Names of functions inside a layer are looked up in the scope alone.
    with quiet(), keras.saving.custom_object_scope(custom):
        return keras.saving.deserialize_keras_object(mended(config), custom_objects=custom, safe_mode=not allow_lambda)


def fill(model: Any, path: Path) -> None:
    """Fill a network's weights from a file of weights or a whole model.

    Raises:
        ValueError: they are weights of another network.
        Exception: whatever else Keras raises when they do not fit.
    """
    if not model.built or not model.weights:
        raise ValueError("the network has no weights before it sees a picture; give it an Input layer")
    with quiet(), named_by_content(path) as file:
        if file.name.endswith(".weights.h5"):
            stored, needed = stored_numbers(file), sum(int(variable.numpy().size) for variable in model.weights)
            # Keras takes what it looks for and leaves the rest, such as the layers of a longer network.
            if stored != needed:
                raise ValueError(f"the file holds {stored:,} numbers, the network {needed:,}")
        model.load_weights(file)


@contextlib.contextmanager
def named_by_content(path: Path) -> Iterator[Path]:
    """A file under the name by which Keras knows its kind; it goes by the name alone."""
    suffix = ".keras" if path.suffix.lower() == ".keras" else ".h5" if is_legacy(path) else ".weights.h5"
    other = suffix == ".h5" and path.name.endswith(".weights.h5")
    if path.name.endswith(suffix) and not other:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="edge-convert-") as folder:
        yield Path(shutil.copy(path, Path(folder) / f"model{suffix}"))


def as_float_model(path: Path, model: Any, config: Any, shape: Sequence[int] | None, output: str | int | None) -> FloatModel:
    """A Keras 3 model as the float network: one picture -> the scores of one output.

    Raises:
        DataError: the network is something else.
    """
    _, keras = import_tensorflow()
    if not model.weights:
        raise DataError(f"{path}: holds no weights: it was saved before it saw a picture; train it and save it again")
    with quiet():
        if not getattr(model, "inputs", None):
            model = _called(path, model, shape)
        elif len(model.inputs) == 1 and model.inputs[0].shape[0] not in (None, 1):
            model = _with_free_batch(model)
    names = getattr(model, "output_names", None) or [f"output_{number}" for number in range(len(model.outputs))]
    shapes = [tuple(tensor.shape) for tensor in model.outputs]
    found = settle_input(path, [tuple(tensor.shape) for tensor in model.inputs], shape)
    chosen = choose_output(path, list(zip(names, shapes, strict=True)), output)
    if len(shapes) > 1:
        model = keras.Model(model.inputs, model.outputs[chosen], name=model.name)
    return FloatModel(
        path,
        f"Keras {keras.__version__}",
        *found,
        check_output(path, shapes[chosen]),
        lambda tensor: model(tensor, training=False),
        # Keras 3's own variable objects are not what TensorFlow's SavedModel can track.
        (model, [variable.value for variable in model.variables]),
        rescales(config),
    )


def _called(path: Path, model: Any, shape: Sequence[int] | None) -> Any:
    """A model that is no graph of layers (a subclass of keras.Model), as a graph of one."""
    _, keras = import_tensorflow()
    if shape is None or len(shape) < 3:
        raise DataError(f"{path}: does not say which pictures it takes; say it, with the channels: --shape 48x48x1")
    picture = keras.Input(tuple(shape))
    try:
        return keras.Model(picture, model(picture, training=False), name=model.name)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:140]
        raise DataError(f"{path}: cannot take pictures of {'x'.join(map(str, shape))} ({reason}); give another --shape") from None


def _with_free_batch(model: Any) -> Any:
    """A Sequential that was built by its first batch keeps that batch's size, though none of its layers needs it."""
    _, keras = import_tensorflow()
    picture = keras.Input(tuple(model.inputs[0].shape[1:]))
    if type(model) is keras.Sequential:
        return keras.Sequential([picture, *model.layers], name=model.name)
    try:
        return keras.Model(picture, model(picture, training=False), name=model.name)
    except (ValueError, TypeError):
        return model
