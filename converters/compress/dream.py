"""Pictures to calibrate with out of the network itself: noise, bent until batch normalisation sees what it saw in training.

A network with batch normalisation remembers mean and variance of every channel over the pictures that it learned from.
Pictures that give the same ones give about the same ranges (Cai et al. 2020, ZeroQ, arXiv:2001.00281; Haroush et al. 2020,
arXiv:1912.01274).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.synthetic import pink_noise
from converters.progress import Progress
from converters.quiet import import_tensorflow, quiet
from edge.emotion.manifest import InputSpec
from edge.emotion.preprocess import pixel_table, to_tensor

# Pictures whose statistics are matched together; fewer of a network whose maps would not fit into the memory given here.
MOST, FEWEST, MEMORY = 64, 8, 1.5e9
# Copies of a map that going forward and back keeps.
COPIES = 4
STEPS = 120
# In units of the network's own input, whose range is 2 in most networks.
RATE = 0.05


def remembers(network: Any) -> bool:
    """Whether a Keras model has batch normalisation, at any depth."""
    return bool(_norms(network))


def dream(network: Any, spec: InputSpec, seed: int, progress: Progress) -> NDArray[np.uint8]:
    """Make pictures whose statistics at every batch normalisation are those of training.

    Args:
        network: a Keras model with batch normalisation, see `remembers`.
        spec: its input.
        seed: of the noise that they start from.
        progress: see `Progress`.

    Returns:
        uint8 (N, height, width, channels), one group: more say nothing that the network knows.
    """
    tf, keras = import_tensorflow()
    norms = _norms(network)
    with quiet():
        goals = {id(norm): (norm.moving_mean.numpy(), np.sqrt(norm.moving_variance.numpy() + norm.epsilon)) for norm in norms}
        start = to_tensor(pink_noise(MOST, (spec.height, spec.width, spec.channels), seed), spec)
        with _listening(norms) as heard:
            network(start[:1], training=False)
    numbers = sum(int(np.prod(values.shape[1:])) for _, values in heard)
    group = int(np.clip(MEMORY / (4 * COPIES * max(numbers, 1)), FEWEST, MOST))
    table = pixel_table(spec)
    low, high = table.min(axis=0), table.max(axis=0)
    pictures = tf.Variable(start[:group])
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(RATE * float((high - low).max()) / 2, STEPS))
    optimizer.build([pictures])

    def distance() -> Any:
        with _listening(norms) as heard:
            network(pictures, training=False)
        total = 0.0
        for norm, values in heard:
            mean, deviation = goals[norm]
            average, variance = tf.nn.moments(values, list(range(len(values.shape) - 1)))
            total += tf.reduce_mean(((average - mean) / deviation) ** 2)
            total += tf.reduce_mean((tf.sqrt(variance + 1e-6) / deviation - 1) ** 2)
        return total / len(heard)

    @tf.function  # type: ignore[untyped-decorator]
    def step() -> None:
        with tf.GradientTape() as tape:
            far = distance()
        optimizer.apply([tape.gradient(far, pictures)], [pictures])
        pictures.assign(tf.clip_by_value(pictures, low, high))

    for _ in progress(range(STEPS), "making pictures up"):
        with quiet():
            step()
    pixels = pictures.numpy() / np.asarray(spec.scale, np.float32) + np.asarray(spec.mean, np.float32)
    return np.asarray(np.clip(np.rint(pixels), 0, 255), np.uint8)


def _norms(network: Any) -> list[Any]:
    _, keras = import_tensorflow()
    return [layer for layer in network._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]


@contextlib.contextmanager
def _listening(norms: list[Any]) -> Iterator[list[tuple[int, Any]]]:
    """Note what goes into each batch normalisation, in nested networks and at every call of a shared one too."""
    heard: list[tuple[int, Any]] = []

    def listen(norm: Any) -> None:
        call = norm.call

        def noting(values: Any, *given: Any, **named: Any) -> Any:
            heard.append((id(norm), values))
            return call(values, *given, **named)

        norm.call = noting

    for norm in norms:
        listen(norm)
    try:
        yield heard
    finally:
        for norm in norms:
            del norm.call
