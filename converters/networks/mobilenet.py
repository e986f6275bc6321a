"""The MobileNetV2 family: inverted residuals with depthwise convolutions, strides reduced for small faces."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from converters.networks.blocks import Attention, attend, conv, head

# Expansion, channels, repeats and stride of each stage: table 2 of Sandler et al. 2018, arXiv:1801.04381.
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class MobileNet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="mobilenet", tag_field="family"):
    """Settings of a MobileNetV2.

    Attributes:
        width: multiplier of all channels, which are then rounded to multiples of eight.
        strides: stride of the stem and of the seven stages. The paper's own are (2, 1, 2, 2, 2, 1, 2, 1), which leave
            a face of 48 pixels as 2x2; the default leaves 6x6.
        last: channels of the last 1x1 convolution; 0 takes the paper's max(1280, 1280 * width).
        dropout: share of the pooled features that training drops.
        attention: "none", "se" (squeeze-excite) or "cbam" at the end of each block.
    """

    width: Annotated[float, Meta(gt=0)] = 1.0
    strides: tuple[Annotated[int, Meta(ge=1, le=2)], ...] = (1, 1, 2, 2, 2, 1, 1, 1)
    last: Annotated[int, Meta(ge=0)] = 0
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.2
    attention: Attention = "none"

    def __post_init__(self) -> None:
        if len(self.strides) != 1 + len(_STAGES):
            raise ValueError(f"strides should be {1 + len(_STAGES)} numbers: of the stem and of the seven stages")


def build_mobilenet(settings: MobileNet, input_shape: tuple[int, int, int], classes: int) -> Any:
    """Build the Keras model: float32 (N, H, W, C) in [-1, 1] -> probabilities float32 (N, classes).

    The layer before the softmax is called `logits`.
    """
    from keras import Input, Model, layers

    inputs = Input(input_shape, name="image")
    x = layers.ReLU(6)(conv(inputs, _channels(32, settings.width), settings.strides[0]))
    for (expansion, channels, repeats, _), stride in zip(_STAGES, settings.strides[1:], strict=True):
        for repeat in range(repeats):
            filters = _channels(channels, settings.width)
            x = _inverted_residual(x, filters, expansion, 1 if repeat else stride, settings.attention)
    x = layers.ReLU(6)(conv(x, settings.last or max(1280, _channels(1280, settings.width)), size=1))
    return Model(inputs, head(x, classes, settings.dropout), name="mobilenet")


def _inverted_residual(x: Any, filters: int, expansion: int, stride: int, attention: Attention) -> Any:
    from keras import layers

    shortcut, channels = x, x.shape[-1]
    if expansion != 1:
        x = layers.ReLU(6)(conv(x, expansion * channels, size=1))
    x = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False, depthwise_initializer="he_normal")(x)
    x = layers.ReLU(6)(layers.BatchNormalization()(x))
    x = attend(conv(x, filters, size=1), attention)
    return layers.Add()([x, shortcut]) if stride == 1 and channels == filters else x


def _channels(channels: int, width: float) -> int:
    """Multiples of eight, never more than a tenth below the wanted number (the authors' own rule)."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8
