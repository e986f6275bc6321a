"""The micro family: dense 3x3 residual networks under 100 KB in INT8.

Below 100k weights a dense residual network beats a depthwise one of the same file size: per-channel scales are stored
per filter, and depthwise filters have only nine weights to share theirs.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Micro(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="micro", tag_field="family"):
    """Settings of a micro network.

    Attributes:
        widths: channels of each stage; every stage but the first halves the map.
        blocks: residual blocks of each stage.
        dropout: share of the pooled features that training drops.
    """

    widths: tuple[int, ...] = (16, 24, 32, 36)
    blocks: tuple[int, ...] = (1, 2, 2, 1)
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not self.widths or len(self.widths) != len(self.blocks) or min(self.widths + self.blocks) < 1:
            raise ValueError(f"widths {list(self.widths)} and blocks {list(self.blocks)} should have one number of each stage")


def build_micro(settings: Micro, input_shape: tuple[int, int, int], classes: int) -> Any:
    """Build the Keras model: float32 (N, H, W, C) in [-1, 1] -> probabilities float32 (N, classes).

    The layer before the softmax is called `logits`.
    """
    from keras import Input, Model, layers

    def conv(x: Any, filters: int, stride: int, size: int = 3) -> Any:
        x = layers.Conv2D(filters, size, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
        return layers.BatchNormalization()(x)

    inputs = Input(input_shape, name="image")
    x = layers.ReLU()(conv(inputs, settings.widths[0], 2))
    for stage, (width, blocks) in enumerate(zip(settings.widths, settings.blocks, strict=True)):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            shortcut = x
            if stride != 1 or x.shape[-1] != width:
                shortcut = conv(x, width, stride, size=1)
            x = layers.ReLU()(conv(x, width, stride))
            x = layers.ReLU()(layers.Add()([conv(x, width, 1), shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(settings.dropout)(x)
    x = layers.Dense(classes, name="logits")(x)
    return Model(inputs, layers.Softmax(name="probabilities")(x), name="micro")
