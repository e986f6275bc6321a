"""Where a network looks: Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) over right and wrong samples of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.proof.charts import GAP, INK, PALE, figure, png
from converters.quiet import import_tensorflow, quiet
from edge.errors import DataError

BATCH = 64
# Pixels of one sample in the picture, inches of its cell, and how much of the warmest place the colour covers.
SIDE, CELL, COVER = 160, 1.15, 0.75


class GradCam:
    """The evidence for a class on the last map that still has places: weights from the gradient of its logit."""

    def __init__(self, model: Any, name: str) -> None:
        """Find the map and the logits.

        Args:
            model: a Keras model, Sequential or functional.
            name: what the user calls it, for errors.

        Raises:
            DataError: it has no layers that can be looked at, or none that keeps places apart.
        """
        _, keras = import_tensorflow()
        if not isinstance(model, keras.Model):
            raise DataError(f"{name}: came without layers to take gradients of; give the .keras it was saved from")
        places = _last_map(model, name)
        tail, self._finish = _before_softmax(keras, model)
        try:
            with quiet():
                self._before, self._after = keras.Model(model.inputs, places), keras.Model(places, tail)
        except ValueError:
            layer = places._keras_history.operation.name
            raise DataError(f"{name}: layers before {layer!r} reach the output past it; Grad-CAM needs one last map") from None

    def maps(self, tensors: NDArray[np.float32], classes: NDArray[np.int64]) -> NDArray[np.float32]:
        """How much each place spoke for a class.

        Args:
            tensors: float32 (N, H, W, C), as the network sees them.
            classes: int64 (N,), the class of each that is asked about.

        Returns:
            float32 (N, H, W) in 0..1, each divided by its largest value; all zeros where no place spoke for the class.
        """
        size = (tensors.shape[2], tensors.shape[1])
        if not len(tensors):
            return np.empty((0, *tensors.shape[1:3]), np.float32)
        found: list[NDArray[np.float32]] = []
        for start in range(0, len(tensors), BATCH):
            found += list(self._coarse(tensors[start : start + BATCH], classes[start : start + BATCH]))
        # A cubic curve overshoots a little on both sides.
        return np.clip([cv2.resize(each, size, interpolation=cv2.INTER_CUBIC) for each in found], 0, 1).astype(np.float32)

    def _coarse(self, tensors: NDArray[np.float32], classes: NDArray[np.int64]) -> NDArray[np.float32]:
        tf, _ = import_tensorflow()
        with quiet():
            activations = self._before(tf.constant(tensors), training=False)
            # The map alone is watched: what weights would change by is nobody's question here.
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(activations)
                logits = self._finish(tf, self._after(activations, training=False))
                asked = tf.gather(logits, classes, axis=1, batch_dims=1)
        gradients = tape.gradient(asked, activations)
        # Equations 1 and 2: a channel's weight is the mean of its gradient over places; only evidence in favour stays.
        weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
        evidence = np.asarray(tf.nn.relu(tf.reduce_sum(weights * activations, axis=-1)), np.float32)
        return np.asarray(evidence / np.maximum(evidence.max(axis=(1, 2), keepdims=True), 1e-12), np.float32)


def choose(
    truth: NDArray[np.int64], said: NDArray[np.int64], classes: int, count: int, seed: int
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """Rows to show: of each class up to `count` that the network has right, and as many that it has not.

    Args:
        truth: int64 (N,).
        said: int64 (N,).
        classes: how many there are.
        count: samples of each kind.
        seed: the same seed chooses the same rows.
    """
    rng = np.random.default_rng(seed)

    def some(rows: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.sort(rng.permutation(np.flatnonzero(rows))[:count])

    right = [some((truth == index) & (said == index)) for index in range(classes)]
    wrong = [some((truth == index) & (said != index)) for index in range(classes)]
    return right, wrong


def explain(
    camera: GradCam,
    title: str,
    labels: Sequence[str],
    samples: tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]],
    count: int,
    seed: int,
    color: str = "gray",
) -> bytes:
    """Draw one picture: a row for each class, right answers on the left, wrong ones on the right as "true → said".

    Args:
        camera: of the network.
        title: one line.
        labels: of the classes.
        samples: of N pictures the pixels uint8 (N, H, W, C), what the network sees of them float32 (N, H, W, C), the true
            classes int64 (N,) and the probabilities float32 (N, classes).
        count: samples of each kind.
        seed: chooses them.
        color: of the pixels, as the manifest names it.

    Returns:
        The content of a .png file.
    """
    pixels, tensors, truth, scores = samples
    said = scores.argmax(axis=1)
    right, wrong = choose(truth, said, len(labels), count, seed)
    drawn, cells = _grid(labels, count, title, seed)
    for index in range(len(labels)):
        for side, rows in enumerate((right[index], wrong[index])):
            heat = camera.maps(tensors[rows], said[rows])
            for place, row in enumerate(rows):
                axes = cells(index, side * count + place)
                axes.imshow(overlay(pixels[row], heat[place], color))
                answer = f"{labels[said[row]]} {scores[row].max():.0%}"
                axes.set_title(
                    f"{labels[index]} → {answer}" if side else answer, fontsize=5.8, pad=2.5, color=GAP if side else INK
                )
            if not len(rows):
                cells(index, side * count).text(0.5, 0.5, "none", ha="center", va="center", fontsize=8, color=PALE)
    return png(drawn)


def overlay(pixels: NDArray[np.uint8], heat: NDArray[np.float32], color: str = "gray") -> NDArray[np.uint8]:
    """A picture under its evidence; what did not speak stays as it is.

    Args:
        pixels: uint8 (H, W, C).
        heat: float32 (H, W) in 0..1.
        color: of the pixels.

    Returns:
        uint8 (SIDE, SIDE, 3), RGB.
    """
    rgb = pixels[..., ::-1] if color == "bgr" else np.repeat(pixels, 4 - pixels.shape[2], axis=2)[..., :3]
    picture = cv2.resize(np.ascontiguousarray(rgb), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    warm = cv2.resize(heat, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    colors = cv2.applyColorMap(np.rint(255 * warm).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    # Squared, so that what spoke a little does not veil the face.
    share = COVER * warm[..., None] ** 2
    return np.asarray(np.rint((1 - share) * picture + share * colors), np.uint8)


def _grid(labels: Sequence[str], count: int, title: str, seed: int) -> tuple[Any, Any]:
    """A figure and a function that makes the axes of a cell by row and column."""
    left, gap, top, bottom, step = 0.95, 0.25, 0.62, 0.28, CELL + 0.16
    width, height = left + 2 * count * CELL + gap + 0.1, top + len(labels) * step + bottom
    drawn = figure(max(width, 6.6), height)
    width = max(width, 6.6)

    def write(x: float, y: float, text: str, **style: Any) -> None:
        drawn.text(x / width, 1 - y / height, text, **style)

    write(0.1, 0.25, title, fontsize=10, fontweight="bold", color=INK)
    write(left, 0.58, "right", fontsize=9, color=INK)
    write(left + count * CELL + gap, 0.58, "wrong: true class → answer", fontsize=9, color=GAP)
    note = f"Grad-CAM of the answer that was given: the brighter, the more a place spoke for it. Samples chosen by seed {seed}."
    write(0.1, height - 0.1, note, fontsize=7, color=PALE)
    for row, label in enumerate(labels):
        write(left - 0.12, top + row * step + step / 2, label, fontsize=9, ha="right", va="center", color=INK)

    def cell(row: int, column: int) -> Any:
        x = left + column * CELL + (gap if column >= count else 0)
        y = top + row * step + (step - CELL)
        axes = drawn.add_axes((x / width, 1 - (y + CELL * 0.94) / height, CELL * 0.94 / width, CELL * 0.94 / height))
        axes.set_axis_off()
        return axes

    return drawn, cell


def _last_map(model: Any, name: str) -> Any:
    """From the output backwards to the first tensor that still has places: what the global average is taken of."""
    tensor = model.outputs[0]
    while len(tensor.shape) != 4 or tensor.shape[1:3] in ((1, 1), (None, None)):
        operation, node, _ = tensor._keras_history
        parents = operation._inbound_nodes[node].input_tensors
        if not parents:
            break
        tensor = parents[0]
    if any(tensor is start for start in model.inputs):
        raise DataError(f"{name}: no layer keeps places of the picture apart, so there is nothing for Grad-CAM to show")
    return tensor


def _before_softmax(keras: Any, model: Any) -> tuple[Any, Any]:
    """The tensor to take, and what makes logits of it: the gradient of a probability fades where the network is sure."""
    output = model.outputs[0]
    layer, node, _ = output._keras_history
    softmax = keras.activations.softmax
    if isinstance(layer, keras.layers.Softmax) or (isinstance(layer, keras.layers.Activation) and layer.activation is softmax):
        return layer._inbound_nodes[node].input_tensors[0], lambda _, values: values
    if isinstance(layer, keras.layers.Dense) and layer.activation is softmax:
        kernel, bias = layer.kernel, layer.bias

        def dense(tf: Any, values: Any) -> Any:
            product = tf.matmul(values, tf.convert_to_tensor(kernel))
            return product if bias is None else product + tf.convert_to_tensor(bias)

        return layer._inbound_nodes[node].input_tensors[0], dense
    return output, _logits_of


def _logits_of(tf: Any, values: Any) -> Any:
    """Values that are probabilities -> their logarithms, logits up to a constant; others are logits already."""
    sums = tf.reduce_sum(values, axis=1)
    if bool(tf.reduce_all(values >= 0)) and bool(tf.reduce_all(abs(sums - 1) < 1e-2)):
        return tf.math.log(tf.maximum(values, 1e-7))
    return values
