"""What each kind of layer does to the channels that it reads. A kind that is not here is refused by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from converters.compress.ties import Ids, Ties
from edge.errors import DataError

Shape = tuple[int | None, ...]
# For each axis of a weight the channels that lie along it, None where others do.
Axes = tuple[Ids | None, ...]

# Each channel of the result comes from the same channel of the input, without weights.
_PASSING = frozenset(
    {
        *("Activation", "ELU", "LeakyReLU", "ReLU", "Softmax", "Identity", "ActivityRegularization", "Rescaling"),
        *("Dropout", "GaussianDropout", "GaussianNoise", "SpatialDropout2D"),
        *("AveragePooling2D", "MaxPooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D"),
        *("Cropping2D", "UpSampling2D", "ZeroPadding2D", "Resizing"),
        *("RandomBrightness", "RandomContrast", "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom"),
    }
)
_MERGING = frozenset({"Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"})
_ELEMENTWISE = frozenset(
    {
        *("linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "swish", "mish"),
        *("sigmoid", "hard_sigmoid", "log_sigmoid", "hard_silu", "hard_swish", "tanh", "hard_tanh", "softplus", "softsign"),
        *("exponential", "squareplus", "soft_shrink", "hard_shrink", "tanh_shrink"),
    }
)
# They look at all channels at once: removing one would change the others.
_MIXING = frozenset({"softmax", "log_softmax", "sparsemax"})


@dataclass(frozen=True, slots=True)
class Node:
    """One layer as a network's config has it, with the channels and the shape of each of its inputs."""

    model: str
    entry: Mapping[str, Any]
    inputs: list[tuple[Ids, Shape]]

    @property
    def kind(self) -> str:
        own = self.entry.get("module") == "keras.layers" and not self.entry.get("registered_name")
        # keras.ops has an Add and a Multiply too, which take constants; a user's class may be called Conv2D.
        return str(self.entry["class_name"]) if own else f"{self.entry.get('module')}.{self.entry['class_name']}"

    @property
    def name(self) -> str:
        return str(self.entry["name"])

    def __getitem__(self, key: str) -> Any:
        return self.entry["config"].get(key)

    def refuse(self, why: str) -> DataError:
        return DataError(f"{self.model}: layer {self.name!r} ({self.kind}) {why}")


@dataclass(frozen=True, slots=True)
class Site:
    """A layer that has to change when channels go.

    Attributes:
        layer, kind: its name and class.
        weights: the axes of each weight, in the order of the layer's `weights`.
        sizes: keys of its config -> the channels whose number they give.
        made: the channels that its first or only filters make; empty for a layer without filters.
        filters: which of the weights holds those filters, the made channels innermost.
    """

    layer: str
    kind: str
    weights: tuple[Axes, ...] = ()
    sizes: Mapping[str, Ids] = field(default_factory=dict)
    made: Ids | None = None
    filters: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """The channels of a layer's result, whether all of them must stay, and what has to change when some go."""

    out: Ids
    site: Site | None = None
    frozen: bool = False


def walk_layer(node: Node, ties: Ties) -> Found:
    """Follow the channels through one layer.

    Raises:
        DataError: it is of a kind, or set in a way, that is not known.
    """
    if node["data_format"] == "channels_first":
        raise node.refuse("works on channels-first pictures; build the network channels-last")
    kind = node.kind
    if kind == "InputLayer":
        return Found(ties.new(node["batch_shape"][-1]), frozen=True)
    if kind in _MERGING:
        return Found(_merge(node, ties))
    if kind == "Concatenate":
        return Found(_concatenate(node, ties))
    if len(node.inputs) != 1:
        raise node.refuse("reads several tensors in a way that edge-prune does not know")
    if kind in _PASSING:
        if kind == "Rescaling" and not all(isinstance(node[key], (int, float)) for key in ("scale", "offset")):
            raise node.refuse("scales each channel by a number of its own, which edge-prune does not know; give one for all")
        return Found(node.inputs[0][0], frozen=kind == "Softmax" or _mixes(node))
    rule = _RULES.get(kind)
    if rule is None:
        raise node.refuse(
            "mixes channels in a way that edge-prune does not know; it knows plain, depthwise and separable convolutions, "
            "dense layers, batch normalisation, activations, pools, additions and gates"
        )
    return rule(node, ties)


def _mixes(node: Node) -> bool:
    activation = node["activation"] or "linear"
    if isinstance(activation, str) and activation in _ELEMENTWISE | _MIXING:
        return activation in _MIXING
    label = activation if isinstance(activation, str) else "of its own"
    raise node.refuse(f"has an activation ({label}) that edge-prune does not know")


def _with_bias(node: Node, axes: tuple[Axes, ...], out: Ids) -> tuple[Axes, ...]:
    return (*axes, (out,)) if node["use_bias"] else axes


def _convolution(node: Node, ties: Ties) -> Found:
    (read, _), out = node.inputs[0], ties.new(node["filters"])
    if node["groups"] not in (None, 1):
        raise node.refuse("is a grouped convolution, which edge-prune does not know")
    weights = _with_bias(node, ((None, None, read, out),), out)
    return Found(out, Site(node.name, node.kind, weights, {"filters": out}, out), _mixes(node))


def _dense(node: Node, ties: Ties) -> Found:
    (read, _), out = node.inputs[0], ties.new(node["units"])
    return Found(out, Site(node.name, node.kind, _with_bias(node, ((read, out),), out), {"units": out}, out), _mixes(node))


def _depthwise(node: Node, ties: Ties) -> Found:
    read, _ = node.inputs[0]
    out = ties.new(len(read) * node["depth_multiplier"])
    ties.tie(out, np.repeat(read, node["depth_multiplier"]))
    weights = _with_bias(node, ((None, None, read, None),), out)
    return Found(out, Site(node.name, node.kind, weights, {}, out), _mixes(node))


def _separable(node: Node, ties: Ties) -> Found:
    (read, _), out = node.inputs[0], ties.new(node["filters"])
    between = np.repeat(read, node["depth_multiplier"])
    weights = _with_bias(node, ((None, None, read, None), (None, None, between, out)), out)
    return Found(out, Site(node.name, node.kind, weights, {"filters": out}, out, filters=1), _mixes(node))


def _normalisation(node: Node, ties: Ties) -> Found:  # noqa: ARG001  a rule's signature
    read, shape = node.inputs[0]
    axis = node["axis"] if isinstance(node["axis"], int) else node["axis"][0]
    if axis not in (-1, len(shape) - 1) or node["renorm"]:
        raise node.refuse("normalises in a way that edge-prune does not know; it knows batch normalisation of the last axis")
    # Moving mean and variance, and what of gamma and beta the layer has.
    count = 2 + bool(node["scale"]) + bool(node["center"])
    return Found(read, Site(node.name, node.kind, ((read,),) * count))


def _prelu(node: Node, ties: Ties) -> Found:  # noqa: ARG001  a rule's signature
    read, shape = node.inputs[0]
    last = len(shape) - 1
    own = None if last in (node["shared_axes"] or ()) else read
    return Found(read, Site(node.name, node.kind, ((*(None,) * (last - 1), own),)))


def _reshape(node: Node, ties: Ties) -> Found:  # noqa: ARG001  a rule's signature
    """Flatten and Reshape: every new last axis must hold the same channels in the same order."""
    read, (_, *shape) = node.inputs[0]
    sizes = [size for size in shape if size is not None]
    if len(sizes) != len(shape):
        raise node.refuse("needs pictures of one size; build the network with a fixed height and width")
    target = list(node["target_shape"] or (-1,))
    if -1 in target:
        target[target.index(-1)] = math.prod(sizes) // -math.prod(target)
    rows = np.broadcast_to(read, sizes).reshape(-1, target[-1])
    if (rows != rows[0]).any():
        raise node.refuse("moves channels to another axis, which edge-prune does not know")
    given = node["target_shape"]
    return Found(rows[0], Site(node.name, node.kind, (), {"target_shape": rows[0]} if given and given[-1] != -1 else {}))


def _merge(node: Node, ties: Ties) -> Ids:
    """Tie the inputs place by place; a map of one channel reaches all channels of the others and is tied to none."""
    width = max(len(read) for read, _ in node.inputs)
    wide = [read for read, _ in node.inputs if len(read) == width]
    out = ties.new(width)
    for read in wide:
        ties.tie(out, read)
    return out


def _concatenate(node: Node, ties: Ties) -> Ids:
    if node["axis"] in (-1, len(node.inputs[0][1]) - 1):
        return np.concatenate([read for read, _ in node.inputs])
    return _merge(node, ties)


_RULES: Mapping[str, Callable[[Node, Ties], Found]] = {
    "BatchNormalization": _normalisation,
    "Conv2D": _convolution,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise,
    "Flatten": _reshape,
    "PReLU": _prelu,
    "Reshape": _reshape,
    "SeparableConv2D": _separable,
}
