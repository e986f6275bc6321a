"""Which channels of a network stand or fall together: one walk over its graph, along the channels of every tensor.

Each channel that a layer makes gets a number of its own. Layers that act on each channel alone pass the numbers on or tie
theirs to them; an addition ties the numbers of its inputs place by place; a flattened map repeats them. What is tied is
kept or removed together. This is the dependency graph of Fang et al. 2023 (arXiv:2301.12900), by single channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.compress.layers import Node, Site, walk_layer
from converters.compress.ties import Ids, Ties
from edge.errors import DataError


@dataclass(frozen=True, slots=True)
class Channels:
    """What a walk has found.

    Attributes:
        sites: the layers with weights or sizes of channels.
        roots: of each number the one that stands for all that are tied to it.
        groups: the channels that compete with each other, by the numbers that stand for them, in the tensors' order. What
            the input has or the output promises is in none.
    """

    sites: tuple[Site, ...]
    roots: Ids
    groups: tuple[Ids, ...]


def find_channels(config: Mapping[str, Any], name: str) -> Channels:
    """Walk a functional network.

    Args:
        config: its `get_config()`.
        name: what to call the network in an error.

    Raises:
        DataError: naming the layer that is not known or is used twice.
    """
    ties = Ties()
    tensors: dict[str, Ids] = {}
    sites: list[Site] = []
    frozen: list[Ids] = []
    # A config lists layers by depth, so what a layer reads has been walked; an input may stand later than its reader.
    for entry in sorted(config["layers"], key=lambda entry: bool(entry["inbound_nodes"])):
        node = Node(name, entry, _inputs(entry, name, tensors))
        found = walk_layer(node, ties)
        tensors[entry["name"]] = found.out
        if found.site is not None:
            sites.append(found.site)
        if found.frozen:
            frozen.append(found.out)
    frozen += [tensors[layer] for layer in _names(config["output_layers"])]
    roots = ties.roots()
    return Channels(tuple(sites), roots, _groups([site.made for site in sites if site.made is not None], frozen, roots))


def _inputs(entry: Mapping[str, Any], name: str, tensors: Mapping[str, Ids]) -> list[tuple[Ids, tuple[int | None, ...]]]:
    """The channels and the shape of every tensor that a layer reads."""
    if len(entry["inbound_nodes"]) > 1:
        raise DataError(
            f"{name}: layer {entry['name']!r} ({entry['class_name']}) is used {len(entry['inbound_nodes'])} times; "
            "edge-prune cannot prune a network with a shared layer"
        )
    inputs = []
    for config in _tensors(entry["inbound_nodes"]):
        layer, _, index = config["keras_history"]
        if index:
            raise DataError(
                f"{name}: layer {entry['name']!r} ({entry['class_name']}) reads a second output of {layer!r}; "
                "edge-prune knows only layers with one output"
            )
        inputs.append((tensors[layer], tuple(config["shape"])))
    return inputs


def _tensors(value: Any) -> list[Mapping[str, Any]]:
    """Every tensor in the arguments of a call, in order."""
    if isinstance(value, Mapping):
        if value.get("class_name") == "__keras_tensor__":
            return [value["config"]]
        return [tensor for item in value.values() for tensor in _tensors(item)]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in _tensors(item)]
    return []


def _names(outputs: Any) -> list[str]:
    """Layers of `output_layers`, which is one [name, node, tensor] or any structure of them."""
    if isinstance(outputs, Mapping):
        return [name for item in outputs.values() for name in _names(item)]
    if outputs and isinstance(outputs[0], str):
        return [outputs[0]]
    return [name for item in outputs for name in _names(item)]


def _groups(made: Sequence[Ids], frozen: Sequence[Ids], roots: Ids) -> tuple[Ids, ...]:
    competing = Ties()
    competing.new(len(roots))
    for ids in made:
        own = roots[ids]
        competing.tie(np.full_like(own, own[0]), own)
    leader = competing.roots()
    fixed = {int(root) for ids in frozen for root in roots[ids]}
    groups: dict[int, list[int]] = {}
    for root in np.unique(np.concatenate([roots[ids] for ids in made])).tolist() if made else []:
        if root not in fixed:
            groups.setdefault(int(leader[root]), []).append(root)
    return tuple(np.array(group, np.int64) for group in groups.values())
