"""Which layer of the Keras model an operator came from, out of the names that TensorFlow gives to tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# A fused operator's tensor is named after all that went into it; the one with the weights is what a person looks for.
OPERATION = re.compile(r"(convolution|conv2d|depthwise|separable_conv2d|matmul|biasadd|einsum|cast)\d*", re.IGNORECASE)
COUNTER = re.compile(r"_\d+$")


def layer_name(tensor: str) -> str:
    """`net_1/relu_1/Relu;net_1/conv_1/convolution;…` -> `conv`; a name without scopes stays as it is."""
    parts = [part for part in tensor.split(";") if part]
    best = next((part for part in parts if _operation(part.split("/"))), parts[-1] if parts else tensor)
    scopes = [re.sub(r"(:\d+|__\d+)+$", "", scope) for scope in best.split("/")]
    if place := _operation(scopes):
        scopes = scopes[: place + 1]
    # root/layer/operation; the layers of nested models have more scopes between.
    inner = scopes[1:-1] if len(scopes) > 2 else scopes[-1:]
    counters = {match[0] if (match := COUNTER.search(scope)) else "" for scope in (scopes[0], *inner)}
    if len(scopes) > 2 and len(counters) == 1:
        # Keras numbers every scope of a second tracing.
        inner = [COUNTER.sub("", scope) for scope in inner]
    return "/".join(inner)


def _operation(scopes: Sequence[str]) -> int:
    """Where the operation with weights stands, behind network and layer; 0 where there is none."""
    return next((place for place, scope in enumerate(scopes) if place > 1 and OPERATION.fullmatch(scope)), 0)


def unique(names: Iterable[str]) -> list[str]:
    """The names in their order, with _2, _3 behind those that came before."""
    taken: set[str] = set()
    found = []
    for name in names:
        free, count = name, 1
        while free in taken:
            count += 1
            free = f"{name}_{count}"
        taken.add(free)
        found.append(free)
    return found
