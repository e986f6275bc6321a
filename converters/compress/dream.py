"""Pictures to calibrate with out of the network itself: noise, bent until batch normalisation sees what it saw in training.

A network with batch normalisation remembers mean and variance of every channel over the pictures that it learned from.
Pictures that give the same ones give about the same ranges (Cai et al. 2020, ZeroQ, arXiv:2001.00281; Haroush et al. 2020,
arXiv:1912.01274).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.synthetic import pink_noise
from converters.progress import Progress
from converters.quiet import import_tensorflow, quiet
from edge.emotion.manifest import InputSpec
from edge.emotion.preprocess import to_tensor

# Of one group of pictures, whose statistics are matched together.
GROUP = 64
STEPS = 120
# In units of the network's own input, whose range is 2 in most networks.
RATE = 0.05


def remembers(network: Any) -> bool:
    """Whether a Keras model has batch normalisation with statistics of its own."""
    return bool(_norms(network))


def dream(network: Any, spec: InputSpec, count: int, seed: int, progress: Progress) -> NDArray[np.uint8]:
    """Make pictures whose statistics at every batch normalisation are those of training.

    Args:
        network: a Keras model with batch normalisation, see `remembers`.
        spec: its input.
        count: how many pictures; rounded up to whole groups.
        seed: of the noise that they start from.
        progress: see `Progress`.

    Returns:
        uint8 (count, height, width, channels).
    """
    tf, keras = import_tensorflow()
    norms = _norms(network)
    with quiet():
        watch = keras.Model(network.inputs, [norm.input for norm in norms])
        goals = [(norm.moving_mean.numpy(), np.sqrt(norm.moving_variance.numpy() + norm.epsilon)) for norm in norms]
    noise = pink_noise(-(-count // GROUP) * GROUP, (spec.height, spec.width, spec.channels), seed)
    low, high = (to_tensor(np.full((1, 1, spec.channels), value, np.float32), spec) for value in (0, 255))
    unit = float(np.abs(high - low).max()) / 2

    def loss(pictures: Any) -> Any:
        seen = watch(pictures, training=False)
        total = 0.0
        for values, (mean, deviation) in zip(seen if isinstance(seen, list) else [seen], goals, strict=True):
            axes = list(range(len(values.shape) - 1))
            average, variance = tf.nn.moments(values, axes)
            total += tf.reduce_mean(((average - mean) / deviation) ** 2)
            total += tf.reduce_mean((tf.sqrt(variance + 1e-6) / deviation - 1) ** 2)
        return total / len(goals)

    parts = []
    for start in progress(range(0, len(noise), GROUP), "making pictures up"):
        pictures = tf.Variable(to_tensor(noise[start : start + GROUP], spec))
        optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(RATE * unit, STEPS))
        optimizer.build([pictures])

        @tf.function  # type: ignore[untyped-decorator]
        def step(pictures: Any = pictures, optimizer: Any = optimizer) -> None:
            with tf.GradientTape() as tape:
                far = loss(pictures)
            optimizer.apply([tape.gradient(far, pictures)], [pictures])
            pictures.assign(tf.clip_by_value(pictures, np.minimum(low, high), np.maximum(low, high)))

        with quiet():
            for _ in range(STEPS):
                step()
        pixels = pictures.numpy() / np.asarray(spec.scale, np.float32) + np.asarray(spec.mean, np.float32)
        parts.append(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    return np.concatenate(parts)[:count]


def _norms(network: Any) -> list[Any]:
    _, keras = import_tensorflow()
    return [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
