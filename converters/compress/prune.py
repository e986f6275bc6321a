"""Structured pruning: whole channels go, the graph is built again without them, the weights that stay are copied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.compress.channels import Channels, find_channels
from converters.compress.layers import Site
from converters.compress.rank import Rank, rank_channels
from converters.loading.model import FloatModel
from edge.errors import DataError


def prune(model: Any, ratio: float, rank: Rank = "gamma", multiple: int = 4, name: str = "model") -> Any:
    """Build a network again without its least important channels.

    The same share goes of every group of channels that compete (see `find_channels`); what stays is rounded to the
    nearest multiple, because INT8 kernels work in blocks.

    Args:
        model: a Keras model, Sequential or functional; stays as it is.
        ratio: share of the channels to remove, 0 <= ratio < 1.
        rank: see `rank_channels`.
        multiple: of what each group keeps; a smaller group stays whole.
        name: what to call the network in an error, such as its path.

    Returns:
        A functional Keras model, not compiled, with the same names of layers, inputs and outputs.

    Raises:
        DataError: a layer, by its name, that cannot be pruned, or a ratio out of range.
    """
    if not 0 <= ratio < 1:
        raise DataError(f"{name}: a ratio of {ratio:g} cannot be removed; give a number from 0 to below 1")
    model = _functional(model, name)
    config = model.get_config()
    channels = find_channels(config, name)
    _check_weights(model, channels, name)
    kept = _choose(channels, rank_channels(model, channels, rank), ratio, multiple)
    sites = {site.layer: site for site in channels.sites}
    for entry in config["layers"]:
        # It holds the shapes that the layer was first built with.
        entry.pop("build_config", None)
        if entry["name"] in sites:
            entry["config"].update(_sizes(sites[entry["name"]], entry["config"], kept))
    rebuilt = type(model).from_config(config)
    for site in channels.sites:
        if site.weights:
            weights = model.get_layer(site.layer).get_weights()
            rebuilt.get_layer(site.layer).set_weights([_cut(*pair, kept) for pair in zip(weights, site.weights, strict=True)])
    return rebuilt


def prunable(model: Any, name: str = "model") -> int:
    """How many channels of a network could go, each counted once however many layers it runs through."""
    return sum(len(group) for group in find_channels(_functional(model, name).get_config(), name).groups)


def keras_model(model: FloatModel) -> Any:
    """The Keras model behind a float network.

    Raises:
        DataError: there is none; it came through a SavedModel, which holds operations and no layers.
    """
    import keras

    owner = model.keep[0] if isinstance(model.keep, tuple) else None
    if not isinstance(owner, keras.Model):
        raise DataError(
            f"{model.path}: was loaded by {model.loader}, which leaves no layers to prune; "
            "build the network in Keras 3, load its weights and save it as .keras"
        )
    return owner


def _functional(model: Any, name: str) -> Any:
    import keras

    if type(model) is keras.Sequential and model.built:
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if type(model).__name__ != "Functional":
        raise DataError(f"{name}: is a {type(model).__name__}, not a graph of layers; edge-prune needs a functional Keras model")
    return model


def _check_weights(model: Any, channels: Channels, name: str) -> None:
    for site in channels.sites:
        shapes = [tuple(weight.shape) for weight in model.get_layer(site.layer).weights]
        expected = [[None if ids is None else len(ids) for ids in axes] for axes in site.weights]
        fits = len(shapes) == len(expected) and all(
            len(shape) == len(axes) and all(length in (None, size) for size, length in zip(shape, axes, strict=True))
            for shape, axes in zip(shapes, expected, strict=True)
        )
        if not fits:
            raise DataError(
                f"{name}: layer {site.layer!r} ({site.kind}) has weights of shapes {shapes}, which edge-prune does not know"
            )


def _choose(channels: Channels, scores: list[NDArray[np.float64]], ratio: float, multiple: int) -> NDArray[np.bool_]:
    """Whether each number stays: bool (numbers,)."""
    kept = np.ones(len(channels.roots), np.bool_)
    for group, score in zip(channels.groups, scores, strict=True):
        # A third of twelve is four, whatever floating point makes of it.
        stay = len(group) - int(len(group) * ratio + 1e-9)
        stay = min(len(group), max(1, (stay + multiple // 2) // multiple) * multiple)
        kept[group[np.argsort(score, kind="stable")[: len(group) - stay]]] = False
    return kept[channels.roots]


def _sizes(site: Site, config: Mapping[str, Any], kept: NDArray[np.bool_]) -> dict[str, Any]:
    counts = {key: int(kept[ids].sum()) for key, ids in site.sizes.items()}
    return {key: (*config[key][:-1], count) if key == "target_shape" else count for key, count in counts.items()}


def _cut(weight: NDArray[Any], axes: tuple[Any, ...], kept: NDArray[np.bool_]) -> NDArray[Any]:
    for axis, ids in enumerate(axes):
        if ids is not None:
            weight = np.compress(kept[ids], weight, axis)
    return weight
