"""Networks as people bring them, trained for a little while: what benchmarks/quantization.py and tools.py convert.

    python benchmarks/zoo.py FOLDER --data fer2013.csv

A plain CNN, a VGG-like one without batch normalisation, one with squeeze-excite and self-attention, and Keras 2's own
MobileNetV2 (where tf-keras is installed; it takes most of the time). What they are for is to be converted, not to be
right. What is there already is kept.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from converters.datasets import open_dataset
from converters.datasets.types import Split
from converters.quiet import import_tensorflow

SIDECAR = "[model]\nmean = {mean}\nscale = {scale}\ncolor = '{color}'\n"
BATCH, EPOCHS = 128, 3
# MobileNetV2 halves its input five times, and learns slowly: at 48 pixels and after 12 epochs it is right on 44 % of faces.
SIDE, LONG = 96, 24


def plain(keras: Any) -> Any:
    """Three convolutions, pooling, two dense layers: the network of most tutorials."""
    layers, model = keras.layers, keras.Sequential([keras.Input((48, 48, 1))])
    for width in (32, 64, 128):
        model.add(layers.Conv2D(width, 3, padding="same", activation="relu"))
        model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    model.add(layers.Dense(128, activation="relu"))
    model.add(layers.Dropout(0.3))
    model.add(layers.Dense(7, activation="softmax"))
    return model


def vgg(keras: Any) -> Any:
    """Pairs of convolutions as in VGG, a quarter as wide."""
    layers = keras.layers
    inputs = x = keras.Input((48, 48, 1))
    for width in (16, 32, 64, 96):
        for _ in range(2):
            x = layers.Conv2D(width, 3, padding="same", activation="relu", kernel_initializer="he_normal")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Dropout(0.3)(layers.Dense(192, activation="relu")(layers.Flatten()(x)))
    return keras.Model(inputs, layers.Dense(7, activation="softmax")(x))


def attention(keras: Any) -> Any:
    """Convolutions with squeeze-excite, then self-attention over 6x6 places."""
    layers = keras.layers
    inputs = x = keras.Input((48, 48, 1))
    for width in (32, 48, 64):
        x = layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        gate = layers.Dense(width // 8, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(x))
        x = layers.Multiply()([x, layers.Dense(width, activation="sigmoid")(gate)])
    tokens = layers.Reshape((36, 64))(x)
    tokens = layers.Add()([tokens, layers.MultiHeadAttention(4, 16)(tokens, tokens)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(tokens))
    return keras.Model(inputs, layers.Dense(7, activation="softmax")(x))


def mobilenet(keras: Any) -> Any:
    """Keras' own MobileNetV2, which wants three channels."""
    inputs = keras.Input((SIDE, SIDE, 3))
    body = keras.applications.MobileNetV2((SIDE, SIDE, 3), alpha=0.35, include_top=False, weights=None, pooling="avg")
    for layer in body.layers:
        if hasattr(layer, "momentum"):
            # Its own 0.999 needs more steps than a few epochs have: the averages would be those of the beginning.
            layer.momentum = 0.9
    return keras.Model(inputs, keras.layers.Dense(7, activation="softmax")(body(inputs)))


def fit(keras: Any, build: Callable[[Any], Any], train: Split, epochs: int, file: Path) -> None:
    """Train and save; a mirror image with half a chance is all the augmentation."""
    pictures = (np.asarray(train.images, np.float32)[..., None] - 127.5) / 127.5
    mirrored = np.random.default_rng(0).random(len(pictures)) < 0.5
    pictures[mirrored] = pictures[mirrored, :, ::-1]
    keras.utils.set_random_seed(1)
    model = build(keras)
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(pictures, np.asarray(train.labels), batch_size=BATCH, epochs=epochs, verbose=2)
    save(model, file)


def fit_augmented(keras: Any, build: Callable[[Any], Any], train: Split, epochs: int, file: Path) -> None:
    """Train and save, with pictures that are turned, shifted and zoomed anew in every epoch."""
    tf = importlib.import_module("tensorflow")
    keras.utils.set_random_seed(1)
    layers = keras.layers
    turns = [layers.RandomFlip("horizontal"), layers.RandomRotation(0.04)]
    augment = keras.Sequential([*turns, layers.RandomTranslation(0.1, 0.1), layers.RandomZoom(0.1)])

    def prepare(pictures: Any, labels: Any) -> tuple[Any, Any]:
        larger = tf.image.resize(augment(tf.cast(pictures, tf.float32), training=True), (SIDE, SIDE))
        return tf.repeat((larger - 127.5) / 127.5, 3, axis=3), labels

    pictures, labels = np.asarray(train.images)[..., None], np.asarray(train.labels)
    rows = tf.data.Dataset.from_tensor_slices((pictures, labels)).shuffle(len(pictures), seed=1).batch(BATCH)
    model = build(keras)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, len(rows) * epochs)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(rows.map(prepare, num_parallel_calls=2).prefetch(2), epochs=epochs, verbose=2)
    save(model, file)


def save(model: Any, file: Path) -> None:
    """Write the network, and beside it what edge-convert cannot find out by itself."""
    model.save(file)
    channels = model.input_shape[-1]
    told = SIDECAR.format(mean=[127.5] * channels, scale=[1 / 127.5] * channels, color="rgb" if channels == 3 else "gray")
    file.with_suffix(".toml").write_text(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--keras2", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.keras2:
        import tf_keras

        train = open_dataset(arguments.data).train
        fit_augmented(tf_keras, mobilenet, train, LONG, arguments.folder / "mobilenet-keras2.h5")
        return
    _, keras = import_tensorflow()
    for build in (plain, vgg, attention):
        if not (file := arguments.folder / f"{build.__name__}.keras").exists():
            fit(keras, build, open_dataset(arguments.data).train, EPOCHS, file)
    if not (arguments.folder / "mobilenet-keras2.h5").exists():
        # In a process of its own: Keras 2 and 3 do not share one TensorFlow well.
        command = [sys.executable, __file__, str(arguments.folder), "--data", str(arguments.data), "--keras2"]
        if subprocess.run(command, check=False).returncode:
            print("no Keras 2 here (pip install --no-deps tf-keras): its MobileNetV2 is left out", file=sys.stderr)


if __name__ == "__main__":
    main()
