"""Configs of Keras 1 and 2 as Keras 3 reads them: the same network, without the settings that Keras 3 has no name for.

Only what is inert is left out: a setting that changes nothing at the value it has. Anything else stays, so that Keras 3
refuses it and tf-keras gets its turn. Read from tf-keras 2.21 and Keras 3.15.
"""

from __future__ import annotations

import copy
from typing import Any

# A separable layer inherits them from Conv2D and never uses them.
_KERNEL = {"kernel_initializer": ..., "kernel_regularizer": ..., "kernel_constraint": ...}
# Layer -> settings that Keras 3 does not take, with the value that means nothing; ... is any value.
INERT: dict[str, dict[str, Any]] = {
    "DepthwiseConv2D": {"groups": 1, "filters": None, **_KERNEL},
    "SeparableConv2D": {"groups": 1, **_KERNEL},
    "Conv2DTranspose": {"groups": 1},
    "SpatialDropout2D": {"noise_shape": None, "trainable": ...},
    # The shapes it was built with, which it is built with again.
    "MultiHeadAttention": {"query_shape": ..., "key_shape": ..., "value_shape": ..., "softmax_robust_masking": False},
    "LSTM": {"time_major": False},
    "GRU": {"time_major": False},
    "RNN": {"time_major": False},
    # How chance is drawn while training; they do nothing afterwards.
    **{f"Random{what}": {"rng_type": ...} for what in ("Brightness", "Contrast", "Flip", "Rotation", "Translation", "Zoom")},
}
NETWORKS = {"Functional": "keras.src.models.functional", "Model": "keras.src.models.functional", "Sequential": "keras"}


def is_keras2(config: dict[str, Any]) -> bool:
    """Whether Keras 1 or 2 wrote the config; where no version stands in it, as in Keras 3's own to_json, the form tells."""
    version = config.get("keras_version")
    return str(version)[0] in "12" if version else "module" not in config


def mended(config: dict[str, Any]) -> dict[str, Any]:
    """The config as Keras 3 builds it; that of Keras 3 itself stays as it is, but for its .h5, which lacks the module."""
    result = copy.deepcopy(config)
    if is_keras2(config):
        _mend(result)
    elif "module" in config:
        return config
    name = "Functional" if result["class_name"] == "Model" else result["class_name"]
    if name in NETWORKS:
        result |= {"class_name": name, "module": NETWORKS[name], "registered_name": name}
    return result


def _mend(node: Any) -> None:
    if isinstance(node, list):
        for value in node:
            _mend(value)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if isinstance(value, dict) and value.get("class_name") == "function" and value.get("module") == "builtins":
            # A function that its maker has not registered, of which Keras 2 wrote the bare name as both names.
            node[key] = value["config"]
        else:
            _mend(value)
    inner = node.get("config")
    if not isinstance(node.get("class_name"), str) or not isinstance(inner, dict | list):
        return
    if isinstance(inner, list):
        # Keras 1 and early 2 wrote a Sequential as the bare list of its layers.
        node["config"] = inner = {"name": str(node.get("name", "sequential")), "layers": inner}
    if "layers" in inner:
        _mend_network(node, inner)
    for setting, inert in INERT.get(node["class_name"], {}).items():
        if setting in inner and (inert is ... or inner[setting] == inert):
            del inner[setting]


def _mend_network(node: dict[str, Any], inner: dict[str, Any]) -> None:
    layers = [layer for layer in inner["layers"] if isinstance(layer, dict)]
    for layer in layers:
        # Without them Keras 3 takes an entry for one of an .h5 of Keras 2, and knows how to read it.
        if str(layer.get("module") or "").split(".")[0] in {"keras", "tf_keras"}:
            for key in ("module", "registered_name", "build_config"):
                layer.pop(key, None)
    networks = {layer.get("name") for layer in layers if layer.get("class_name") in NETWORKS}
    networks |= {layer["config"].get("name") for layer in layers if layer.get("class_name") in NETWORKS}
    if not networks or node["class_name"] == "Sequential":
        return
    for layer in layers:
        _renumber(layer.get("inbound_nodes"), networks)
    for ends in ("input_layers", "output_layers"):
        _renumber(inner.get(ends), networks)


def _renumber(reference: Any, networks: set[Any]) -> None:
    """Count the calls of a network inside a network from 0.

    Keras 2 counts the making of a network as its first call (`kept_nodes` in its Functional.get_config), Keras 3 does not.
    """
    if isinstance(reference, dict):
        reference = list(reference.values())
    if not isinstance(reference, list):
        return
    if len(reference) >= 3 and isinstance(reference[0], str) and isinstance(reference[1], int):
        if reference[0] in networks and reference[1] > 0:
            reference[1] -= 1
        # Arguments beside the first may be tensors of other layers.
        for extra in reference[3:]:
            _renumber(extra, networks)
        return
    for part in reference:
        _renumber(part, networks)
