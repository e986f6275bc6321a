"""Small networks of every kind that people save, made with Keras 2 or 3: `python keras_zoo.py FOLDER` makes those of Keras 2.

Keras 2 (tf-keras) lives in a process of its own, so this file imports neither; it is given one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIDE, CLASSES = 12, 7
# Those whose weights and network are saved apart, too.
APART = {"functional", "nested", "depthwise", "separable", "multi-head", "any size, heads"}
CUSTOM = """
import keras
import numpy as np


class Twice(keras.layers.Layer):
    def __init__(self, factor=2.0, **settings):
        super().__init__(**settings)
        self.factor = factor

    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), initializer="ones", name="gain")
        super().build(shape)

    def call(self, x):
        return self.factor * x * self.gain

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def parabola(x):
    return x * x + 0.5 * x
"""
# A layer that Keras 3 cannot call: its backend has no functions any more.
CUSTOM_OF_KERAS_2 = """
import keras


class Doubled(keras.layers.Layer):
    def call(self, x):
        return keras.backend.concatenate([x, x])
"""
# No graph of layers: nothing in the file tells what it takes.
CUSTOM_MODEL = f"""
import keras


class Network(keras.Model):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.conv = keras.layers.Conv2D(6, 3, activation="relu")
        self.pool = keras.layers.GlobalAveragePooling2D()
        self.top = keras.layers.Dense({CLASSES})

    def call(self, x):
        return self.top(self.pool(self.conv(x)))

    def get_config(self):
        return {{"name": self.name}}
"""
BUILD = f"""
import keras

layers = keras.layers


def build():
    picture = keras.Input(({SIDE}, {SIDE}, 1))
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(picture)
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x))
    return keras.Model(picture, layers.Dense({CLASSES}, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
"""


def networks(keras: Any) -> dict[str, Callable[[], Any]]:
    """Builders by name; each gives a Keras model with weights by chance."""
    layers = keras.layers
    own: dict[str, Any] = {"__name__": "their_module"}
    for source in (CUSTOM, CUSTOM_OF_KERAS_2, CUSTOM_MODEL):
        exec(source, own)

    def on_top(middle: Callable[[Any], Any], channels: int = 1, side: int | None = SIDE) -> Any:
        picture = keras.Input((side, side, channels))
        x = middle(layers.Conv2D(6, 3, padding="same", activation="relu")(picture))
        return keras.Model(picture, layers.Dense(CLASSES, activation="softmax")(layers.GlobalAveragePooling2D()(x)))

    def residual(x: Any) -> Any:
        return layers.Add()([x, layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same")(x))])

    def attention(x: Any) -> Any:
        rows = layers.Reshape((SIDE * SIDE, 6))(x)
        weights = layers.Softmax()(layers.Dot((2, 1))([rows, layers.Permute((2, 1))(rows)]))
        return layers.Reshape((SIDE, SIDE, 6))(layers.Dot((2, 1))([weights, rows]))

    def squeeze_excite(x: Any) -> Any:
        gate = layers.Dense(2, activation="relu")(layers.GlobalAveragePooling2D()(x))
        return layers.Multiply()([x, layers.Reshape((1, 1, 6))(layers.Dense(6, activation="sigmoid")(gate))])

    def multi_head(x: Any) -> Any:
        rows = layers.Reshape((SIDE * SIDE, 6))(x)
        return layers.Reshape((SIDE, SIDE, 6))(layers.LayerNormalization()(layers.MultiHeadAttention(2, 3)(rows, rows)))

    def nested(x: Any) -> Any:
        inside = keras.Input((SIDE, SIDE, 6))
        block = keras.Model(inside, layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same")(inside)), name="block")
        # Called twice: both calls have to find their inputs again.
        return block(block(x))

    def heads(named: bool, side: int | None = SIDE) -> Any:
        picture = keras.Input((side, side, 1))
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu")(picture))
        age, emotion = layers.Dense(1, name="age")(x), layers.Dense(CLASSES, activation="softmax", name="emotion")(x)
        return keras.Model(picture, {"years": age, "mood": emotion} if named else [age, emotion])

    def arithmetic(x: Any) -> Any:
        # Operators on tensors: layers of their own in the file, of another kind in each Keras.
        return keras.ops.absolute(x) * 2.0 + 1.0 if hasattr(keras, "ops") else keras.backend.abs(x) * 2.0 + 1.0

    def in_a_row() -> Any:
        first = layers.Conv2D(6, 3, activation="relu")
        rest = [layers.BatchNormalization(), layers.Flatten(), layers.Dense(CLASSES, activation="softmax")]
        return keras.Sequential([keras.Input((SIDE, SIDE, 1)), first, *rest])

    def in_a_row_inside() -> Any:
        return on_top(keras.Sequential([layers.Conv2D(6, 3), layers.ReLU(), layers.MaxPooling2D()], name="block"))

    def in_a_row_twice() -> Any:
        inner = keras.Sequential([layers.Conv2D(6, 3), layers.BatchNormalization()])
        return keras.Sequential([keras.Input((SIDE, SIDE, 1)), inner, layers.GlobalMaxPooling2D(), layers.Dense(CLASSES)])

    def by_its_first_batch() -> Any:
        return keras.Sequential([layers.Conv2D(6, 3), layers.GlobalAveragePooling2D(), layers.Dense(CLASSES)])

    of_one = (
        {"custom model": own["Network"]}
        if hasattr(keras, "ops")
        else {"custom of Keras 2": lambda: on_top(lambda x: own["Doubled"]()(arithmetic(x)))}
    )
    return {
        "sequential": in_a_row,
        "functional": lambda: on_top(residual),
        "nested": lambda: on_top(nested),
        "nested sequential": in_a_row_inside,
        "sequential in sequential": in_a_row_twice,
        "by its first batch": by_its_first_batch,
        "depthwise": lambda: on_top(lambda x: layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x))),
        "separable": lambda: on_top(layers.SeparableConv2D(8, 3)),
        "transposed": lambda: on_top(layers.Conv2DTranspose(8, 3, strides=2)),
        "attention": lambda: on_top(attention),
        "squeeze-excite": lambda: on_top(squeeze_excite),
        "dropouts": lambda: on_top(lambda x: layers.RandomFlip()(layers.SpatialDropout2D(0.3)(layers.Dropout(0.3)(x)))),
        "recurrent": lambda: on_top(
            lambda x: layers.Reshape((1, 1, 8))(layers.Bidirectional(layers.LSTM(4))(layers.Reshape((SIDE, SIDE * 6))(x)))
        ),
        "multi-head": lambda: on_top(multi_head),
        "arithmetic": lambda: on_top(arithmetic),
        "lambda": lambda: on_top(layers.Lambda(lambda x: x * 2.0 + 1.0, name="sneaky")),
        "custom": lambda: on_top(own["Twice"](3.0, name="doubler")),
        "custom function": lambda: on_top(layers.Conv2D(6, 3, activation=own["parabola"])),
        "heads": lambda: heads(named=False),
        "named heads": lambda: heads(named=True),
        "any size": lambda: on_top(residual, side=None),
        "any size, heads": lambda: heads(named=False, side=None),
        "colour": lambda: on_top(residual, channels=3),
        "scaled inside": lambda: on_top(layers.Rescaling(1 / 2)),
        **of_one,
    }


def save_all(keras: Any, folder: Path, legacy: bool) -> None:
    """Save each network in every form, beside `NAME.npz` with pictures and what its own Keras makes of them.

    Args:
        keras: the module, of either version.
        folder: where to; it exists.
        legacy: whether this Keras writes `save_weights` in the old form, too.
    """
    for name, build in networks(keras).items():
        keras.utils.set_random_seed(5)
        model = build()
        pictures = np.random.default_rng(0).uniform(-1, 1, (4, SIDE, SIDE, 3 if name == "colour" else 1))
        # Of different contrast, so that the answers differ.
        pictures = (pictures * np.linspace(0.2, 2, 4)[:, None, None, None]).astype(np.float32)
        model(pictures)
        # Weights as after training: moving statistics, biases and gains are no zeros and ones any more.
        chance = np.random.default_rng(1)
        model.set_weights([w + chance.uniform(0, 0.1, w.shape).astype(w.dtype) for w in model.get_weights()])
        answers = model(pictures, training=False)
        if isinstance(answers, dict):
            answers = [answers["years"], answers["mood"]]
        scores = np.asarray(answers[1] if isinstance(answers, list | tuple) else answers)
        np.savez(folder / f"{name}.npz", pictures=pictures, scores=scores)
        if name != "custom model":
            model.save(folder / f"{name}.h5")
        model.save(folder / f"{name}.keras")
        if name not in APART:
            continue
        (folder / f"{name}.json").write_text(model.to_json())
        model.save_weights(folder / f"{name}.weights.h5")
        if legacy:
            model.save_weights(folder / f"{name} old.h5")
    if legacy:
        keras.models.load_model(folder / "depthwise.h5", compile=False).save(folder / "saved", save_format="tf")


if __name__ == "__main__":
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tf_keras

    sys.modules["keras"] = tf_keras
    save_all(tf_keras, Path(sys.argv[1]), legacy=True)
