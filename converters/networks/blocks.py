"""What the residual families share: convolution with batch normalisation, the basic block, attention, the head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

Attention = Literal["none", "se", "cbam"]


def conv(x: Any, filters: int, stride: int = 1, size: int = 3) -> Any:
    """Convolution without bias (batch normalisation follows and has one)."""
    from keras import layers

    x = layers.Conv2D(filters, size, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    return layers.BatchNormalization()(x)


def basic_block(x: Any, width: int, stride: int, attention: Attention = "none") -> Any:
    """Two 3x3 convolutions and a shortcut (He et al. 2016, arXiv:1512.03385), a 1x1 one where the shape changes."""
    from keras import layers

    shortcut = x
    if stride != 1 or x.shape[-1] != width:
        shortcut = conv(x, width, stride, size=1)
    x = layers.ReLU()(conv(x, width, stride))
    x = attend(conv(x, width), attention)
    return layers.ReLU()(layers.Add()([x, shortcut]))


def stages(x: Any, widths: Sequence[int], blocks: Sequence[int], strides: Sequence[int], attention: Attention = "none") -> Any:
    """Stages of basic blocks; the stride of a stage is that of its first block."""
    for width, count, stride in zip(widths, blocks, strides, strict=True):
        for block in range(count):
            x = basic_block(x, width, 1 if block else stride, attention)
    return x


def head(x: Any, classes: int, dropout: float, hidden: int = 0) -> Any:
    """Global average, an optional hidden layer, dropout, `logits` and `probabilities`: both float32 in any precision."""
    from keras import layers

    x = layers.GlobalAveragePooling2D(name="features")(x)
    if hidden:
        x = layers.Dense(hidden, activation="relu")(x)
    x = layers.Dropout(dropout)(x)
    x = layers.Dense(classes, name="logits", dtype="float32")(x)
    return layers.Softmax(name="probabilities", dtype="float32")(x)


def attend(x: Any, attention: Attention) -> Any:
    """Attention over a map: none, squeeze-excite or CBAM."""
    match attention:
        case "none":
            return x
        case "se":
            return _squeeze_excite(x)
        case "cbam":
            return _spatial(_squeeze_excite(x))


def _squeeze_excite(x: Any, ratio: int = 8) -> Any:
    """Channel gates from the global average (Hu et al. 2018, arXiv:1709.01507).

    The gate is a hard sigmoid: it is piecewise linear, so INT8 represents it as well as a ReLU (Howard et al. 2019,
    arXiv:1905.02244, section 5.2).
    """
    from keras import layers

    channels = x.shape[-1]
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(max(4, channels // ratio), 1, activation="relu", kernel_initializer="he_normal")(gate)
    gate = layers.Conv2D(channels, 1, activation="hard_sigmoid")(gate)
    return layers.Multiply()([x, gate])


def _spatial(x: Any) -> Any:
    """The spatial half of CBAM (Woo et al. 2018, arXiv:1807.06521) with a learned 1x1 squeeze in place of the mean and
    maximum over channels, which are reductions over the innermost axis that INT8 kernels do slowly.
    """
    from keras import layers

    gate = layers.Conv2D(2, 1, activation="relu", kernel_initializer="he_normal")(x)
    gate = layers.Conv2D(1, 7, padding="same", activation="hard_sigmoid")(gate)
    return layers.Multiply()([x, gate])
