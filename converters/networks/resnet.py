"""The ResNet family: ResNet-18 with a stem that fits 48x48, and the small residual network of the tutorials.

ResNet-18's own stem (7x7, stride 2, then a pool of stride 2) leaves a face of 48 pixels as 12x12 before the first
block; a 3x3 stem of stride 2 keeps 24x24, one of stride 1 all of it at four times the work.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from converters.networks.blocks import Attention, conv, head, stages


class ResNet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="resnet", tag_field="family"):
    """Settings of a residual network of basic blocks (He et al. 2016, arXiv:1512.03385).

    Attributes:
        width: channels of the first stage; each stage doubles them. ResNet-18 has 64.
        blocks: blocks of each stage. ResNet-18 has (2, 2, 2, 2), the tutorials' variant (1, 1, 1, 1).
        stem: "3x3" (stride `stem_stride`) or "7x7" (stride 2, then a 3x3 maximum pool of stride 2).
        stem_stride: 1 or 2, of the 3x3 stem.
        hidden: width of a dense layer before the logits; 0 is none. The tutorials' variant has 256.
        dropout: share of the features before the logits that training drops.
        attention: "none", "se" (squeeze-excite) or "cbam" at the end of each block.
    """

    width: Annotated[int, Meta(ge=4)] = 64
    blocks: tuple[Annotated[int, Meta(ge=1)], ...] = (2, 2, 2, 2)
    stem: Literal["3x3", "7x7"] = "3x3"
    stem_stride: Literal[1, 2] = 2
    hidden: Annotated[int, Meta(ge=0)] = 0
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.3
    attention: Attention = "none"

    def __post_init__(self) -> None:
        if not self.blocks:
            raise ValueError("blocks should have one number of each stage")


def build_resnet(settings: ResNet, input_shape: tuple[int, int, int], classes: int) -> Any:
    """Build the Keras model: float32 (N, H, W, C) in [-1, 1] -> probabilities float32 (N, classes).

    The layer before the softmax is called `logits`.
    """
    from keras import Input, Model, layers

    inputs = Input(input_shape, name="image")
    if settings.stem == "7x7":
        x = layers.ReLU()(conv(inputs, settings.width, 2, size=7))
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    else:
        x = layers.ReLU()(conv(inputs, settings.width, settings.stem_stride))
    widths = tuple(settings.width * 2**stage for stage in range(len(settings.blocks)))
    strides = (1, *[2] * (len(widths) - 1))
    x = stages(x, widths, settings.blocks, strides, settings.attention)
    return Model(inputs, head(x, classes, settings.dropout, settings.hidden), name="resnet")
