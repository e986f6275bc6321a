"""The micro family: dense 3x3 residual networks under 100 KB in INT8.

Below 100k weights a dense residual network beats a depthwise one of the same file size: per-channel scales are stored
per filter, and depthwise filters have only nine weights to share theirs.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from converters.networks.blocks import Attention, conv, head, stages


class Micro(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="micro", tag_field="family"):
    """Settings of a micro network.

    Attributes:
        widths: channels of each stage.
        blocks: residual blocks of each stage.
        strides: of the stem and of each stage; without them all but the first stage halve the map. They cost no weights:
            fewer twos look closer and compute longer.
        dropout: share of the pooled features that training drops.
        attention: "none", "se" (squeeze-excite) or "cbam" at the end of each block.
    """

    widths: tuple[int, ...] = (16, 24, 32, 36)
    blocks: tuple[int, ...] = (1, 2, 2, 1)
    strides: tuple[Literal[1, 2], ...] = ()
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    attention: Attention = "none"

    def __post_init__(self) -> None:
        if not self.widths or len(self.widths) != len(self.blocks) or min(self.widths + self.blocks) < 1:
            raise ValueError(f"widths {list(self.widths)} and blocks {list(self.blocks)} should have one number of each stage")
        if self.strides and len(self.strides) != 1 + len(self.widths):
            raise ValueError(f"strides should be {1 + len(self.widths)} numbers: of the stem and of each stage")


def build_micro(settings: Micro, input_shape: tuple[int, int, int], classes: int) -> Any:
    """Build the Keras model: float32 (N, H, W, C) in [-1, 1] -> probabilities float32 (N, classes).

    The layer before the softmax is called `logits`.
    """
    from keras import Input, Model, layers

    strides: tuple[int, ...] = settings.strides or (2, 1, *[2] * (len(settings.widths) - 1))
    inputs = Input(input_shape, name="image")
    x = layers.ReLU()(conv(inputs, settings.widths[0], strides[0]))
    x = stages(x, settings.widths, settings.blocks, strides[1:], settings.attention)
    return Model(inputs, head(x, classes, settings.dropout), name="micro")
