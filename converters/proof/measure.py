"""Which rows to measure on, and what the float network says of them."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from calibration.temperature import FLOOR
from converters.compress.samples import prepare
from converters.datasets import Dataset
from converters.progress import Progress
from converters.proof.provenance import digest
from converters.proof.report import Rows
from converters.resolve import Predict, Resolved
from edge.emotion.classify import Classifier, calibrated
from edge.emotion.golden import golden_crop
from edge.emotion.manifest import Manifest
from edge.emotion.preprocess import to_tensor

# Made-up pictures; their numbers lie above those that golden pairs may use.
MADE_UP, FIRST_MADE_UP = 1000, 1000
CHUNK = 512
# Of an INT8 softmax, whose probabilities have steps of 1/256.
HALF_STEP = 1 / 512


@dataclass(frozen=True, slots=True)
class Measured:
    """Rows to measure on.

    Attributes:
        pixels: uint8 (N, height, width, channels).
        truth: int64 (N,), or None without labels.
        reference: float32 (N, classes), what the float network says of them.
        rows: as the report tells them.
        synthetic: whether they were made up.
    """

    pixels: NDArray[np.uint8]
    truth: NDArray[np.int64] | None
    reference: NDArray[np.float32]
    rows: Rows
    synthetic: bool


def measure_float(data: Dataset | None, resolved: Resolved, predict: Predict, progress: Progress) -> Measured:
    """Choose rows that were not calibrated with, made-up ones where there are none, and ask the float network.

    Args:
        data: with the model's labels, or None.
        resolved: the network's contract.
        predict: the float network.
        progress: see `Progress`.
    """
    spec = resolved.input
    if data is not None and len(data.held_out):
        pixels = prepare(data.held_out, np.arange(len(data.held_out)), spec)
        truth, source, synthetic = data.held_out.labels, f"rows of {data.name} {data.held_out_name}", False
    else:
        pixels = np.stack([golden_crop(f"v1:{FIRST_MADE_UP + number}", spec) for number in range(MADE_UP)])
        truth, source, synthetic = None, "made-up pictures", True
    chunks = [pixels[i : i + CHUNK] for i in range(0, len(pixels), CHUNK)]
    values = np.concatenate([predict(to_tensor(chunk, spec)) for chunk in progress(chunks, "measuring float")])
    reference = np.stack([calibrated(row, resolved.output) for row in values])
    return Measured(pixels, truth, reference, Rows(len(pixels), source, digest(pixels)), synthetic)


def tempered(classifier: Classifier, temperature: float) -> Classifier:
    """The same network, its scores at another temperature."""
    output = msgspec.structs.replace(classifier.manifest.output, temperature=temperature)
    return Classifier(msgspec.structs.replace(classifier.manifest, output=output), classifier.runtime)


def resolution(manifest: Manifest) -> float:
    """The smallest probability that an artifact tells from 0."""
    return HALF_STEP if manifest.quantization in ("int8", "int8-mixed") and manifest.output.kind == "probabilities" else FLOOR
