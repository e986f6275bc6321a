"""Which layers a config holds, at any depth, and which of them would run code that came with the file."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from edge.errors import DataError

# Names of Keras 1 and 2 that Keras 3 has no class for; tf-keras knows them.
LEGACY = frozenset(
    {
        "BatchNormalizationV1",
        "BatchNormalizationV2",
        "CuDNNGRU",
        "CuDNNLSTM",
        "LocallyConnected1D",
        "LocallyConnected2D",
        "Policy",
        "SlicingOpLambda",
        "SyncBatchNormalization",
        "TFOpLambda",
        "ThresholdedReLU",
        "VarianceScalingV2",
    }
)
# The model class itself, and how Keras 3 marks values that are not objects.
MARKS = frozenset(
    {
        "Functional",
        "__keras_tensor__",
        "__numpy__",
        "__tensor__",
        "__tuple__",
        "__ellipsis__",
        "__typespec__",
        "CompiledComponent",
    }
)
NAMESPACES = (
    "activations",
    "constraints",
    "dtype_policies",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "quantizers",
    "random",
    "regularizers",
)


def refuse_lambda(path: Path, config: Any) -> None:
    """Refuse code inside the file, however deep: nested models, TimeDistributed, Bidirectional.

    Raises:
        DataError: naming the layer and the flag that allows it.
    """
    for node in _objects(config):
        inner = node.get("config")
        if node["class_name"] in {"Lambda", "__lambda__"} or node.get("function_type") == "lambda":
            name = inner.get("name", "without a name") if isinstance(inner, dict) else "without a name"
            raise DataError(
                f"{path}: layer {name!r} is a Lambda: Python code inside the file, which would run here; "
                "if you trust who made it, add --allow-lambda"
            )


def refuse_unknown(path: Path, config: Any, keras: Any, custom: Collection[str]) -> None:
    """Refuse classes that neither Keras nor the user's own file defines.

    Args:
        path: the model file, for the message.
        config: its config.
        keras: the module.
        custom: names that the user's file defines.

    Raises:
        DataError: naming the layer, its class and the flag that helps.
    """
    known = {name for space in NAMESPACES for name in dir(getattr(keras, space, None))} | LEGACY | MARKS
    for node in _objects(config):
        name = node["class_name"]
        inner = node.get("config")
        if name == "function":
            name = str(inner)
        elif name in {"Lambda", "__lambda__"}:
            continue
        short = name.rsplit(">", 1)[-1]
        module = node.get("module")
        foreign = isinstance(module, str) and not (module == "builtins" or module.split(".")[0] in {"keras", "tf_keras"})
        # Keras 3 writes its functions as layers too, each with a class of its own: keras.ops.abs(x) is an Absolute.
        operation = isinstance(module, str) and module.startswith(("keras.ops", "keras.src.ops"))
        if short in custom or operation or (short in known and not foreign):
            continue
        layer = inner.get("name", short) if isinstance(inner, dict) else short
        # Keras 3 writes keras.ops.transpose(x) into an .h5 without saying that it is one, and cannot read it again.
        hint = "; a function of keras.ops is lost in an .h5: save the model as .keras" if path.suffix == ".h5" else ""
        raise DataError(
            f"{path}: layer {layer!r} is a {short}, which Keras does not know; "
            f"give the Python file that defines it: --custom-objects layers.py{hint}"
        )


def rescales(config: Any) -> bool:
    """Whether the network brings mean and scale itself, so that it wants pixels in 0..255."""
    return any(node["class_name"] in {"Rescaling", "Normalization"} for node in _objects(config))


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if isinstance(node.get("class_name"), str):
            yield node
        elif node.get("function_type") == "lambda":
            yield {"class_name": "__lambda__", **node}
        # Losses and optimizers are not built (compile=False), so their classes need not be known.
        yield from (found for key, value in node.items() if key != "compile_config" for found in _objects(value))
    elif isinstance(node, list):
        for value in node:
            yield from _objects(value)
