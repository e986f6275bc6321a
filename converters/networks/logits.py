"""Where a network's logits are, whoever made it."""

from __future__ import annotations

from typing import Any


def logits_of(network: Any) -> Any:
    """The tensor before the softmax.

    A network of another maker has no layer called `logits` under a softmax; then log p stands for it, whose softmax is p
    again. (`load_given` has seen that it gives probabilities.)
    """
    import keras

    last = network.layers[-1]
    if isinstance(last, keras.layers.Softmax) and any(layer.name == "logits" for layer in network.layers):
        return network.get_layer("logits").output
    return keras.ops.log(keras.ops.maximum(network.output, 1e-7))
