"""Crop -> scores, by the manifest alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.config import TensorRtSettings
from edge.emotion.golden import golden_crop
from edge.emotion.manifest import Manifest, OutputSpec, manifest_path, read_manifest, verify_file
from edge.emotion.preprocess import look_up, pixel_table, to_batch, to_pixels
from edge.errors import ModelError
from edge.runtime import XNNPACK, Runtime, open_runtime
from edge.types import Crop, Scores

log = logging.getLogger(__name__)

# What runs when no model is named: trained and converted by this project (recipes/mobilenet.toml, mobilenet-bright.toml).
DEFAULT_MODEL = Path(__file__).resolve().parent.parent / "models" / "mobilenet.int8.tflite"

# What edge runs.
SUFFIXES = (".tflite", ".onnx")

# INT8 is whole-number arithmetic and was bit-identical on x86-64, cortex-a57, a72 and a76; a probability of an INT8
# softmax has steps of 1/256, so half a step tells one from the next. That is XNNPACK's arithmetic: TFLite's own kernels
# round otherwise (4 steps on the model that comes with this package). Floats may differ by kernel.
EXACT, CLOSE = 1 / 512, 0.02


class Classifier:
    """A verified model, ready for crops."""

    def __init__(self, manifest: Manifest, runtime: Runtime) -> None:
        self.manifest, self.runtime = manifest, runtime
        self._table = runtime.encode(pixel_table(manifest.input))

    def pixels(self, crop: Crop) -> NDArray[np.uint8]:
        """Native crop -> uint8 (height, width, channels) as the network will see it."""
        return to_pixels(crop, self.manifest.input)

    def scores(self, pixels: NDArray[np.uint8]) -> Scores:
        """uint8 (height, width, channels) -> calibrated probabilities, float32 (classes,)."""
        tensor = to_batch(look_up(pixels, self._table), self.manifest.input)
        return calibrated(self.runtime.run(tensor)[0][0], self.manifest.output)

    def classify(self, crops: Sequence[Crop]) -> list[Scores]:
        """Native crops -> calibrated probabilities of each."""
        return [self.scores(self.pixels(crop)) for crop in crops]

    def look(self, crops: Sequence[Crop]) -> Scores:
        """Native views of one face -> the mean of what `classify` says of each."""
        first, *others = self.classify(crops)
        return sum(others, first) / np.float32(len(crops))


def open_classifier(
    model: Path, threads: int = 1, delegate: str = XNNPACK, tensorrt: TensorRtSettings | None = None
) -> Classifier:
    """Load a model with its manifest and prove that both fit, before a frame is read.

    Args:
        model: a .tflite or .onnx beside its manifest.
        threads: CPU threads of one call.
        delegate, tensorrt: see `edge.runtime.open_runtime`. An engine that computes other scores gives way to the CPU.

    Raises:
        ModelError: manifest, sha256, shape, labels or golden scores do not fit.
        RuntimeMissingError: no runtime for this kind of model can be imported.
    """
    # Not Path.is_file: a folder that may not be looked into raises there.
    if not os.path.isfile(model):  # noqa: PTH113
        raise ModelError(
            f"{model}: no such file, or this user may not see it (a service does not see /home); name a .tflite or .onnx that "
            "edge-convert wrote"
        )
    if model.suffix not in SUFFIXES:
        raise ModelError(f"{model}: edge runs .tflite and .onnx files; make one of it with edge-convert --int8 {model.name}")
    manifest = read_manifest(manifest_path(model))
    content = verify_file(manifest, model)
    classifier = Classifier(manifest, open_runtime(content, model.suffix, threads, delegate, tensorrt, model))
    try:
        check(classifier, model, exact=delegate == XNNPACK)
    except ModelError as error:
        if not classifier.runtime.name.startswith("tensorrt"):
            raise
        log.warning("%s; it runs on the CPU", error)
        return open_classifier(model, threads, delegate)
    return classifier


def check(classifier: Classifier, model: Path, exact: bool = True) -> None:
    """Hold a loaded model's shapes and golden scores against its manifest.

    Args:
        classifier: the loaded model.
        model: its file, for messages.
        exact: whether INT8 has to match to the step, as it does wherever XNNPACK computes it.

    Raises:
        ModelError: naming what does not fit.
    """
    manifest, runtime = classifier.manifest, classifier.runtime
    spec = manifest.input
    if runtime.input_shape != spec.shape:
        raise ModelError(f"{model}: takes {runtime.input_shape}, its manifest says {spec.shape}")
    if runtime.output_shapes[0] != (1, len(manifest.labels)):
        raise ModelError(f"{model}: gives {runtime.output_shapes[0]}, its manifest has {len(manifest.labels)} labels")
    if len(manifest.golden) < 3:
        raise ModelError(f"{model}: its manifest has {len(manifest.golden)} golden scores, 3 are needed; convert it again")
    allowed = EXACT if exact and manifest.quantization == "int8" else CLOSE
    for golden in manifest.golden:
        if len(golden.scores) != len(manifest.labels):
            raise ModelError(f"{model}: golden scores of {golden.rule} have another number of classes than its labels")
        scores = classifier.scores(golden_crop(golden.rule, spec))
        difference = float(np.abs(scores - np.array(golden.scores, np.float32)).max())
        if not difference <= allowed:
            raise ModelError(
                f"{model}: computes other scores here than where it was converted ({golden.rule} differs by {difference:.3f}, "
                f"allowed {allowed:.3f}, {runtime.name}); convert it again, or take the runtime and delegate of its proof"
            )


def calibrated(values: NDArray[np.float32], output: OutputSpec) -> Scores:
    """The network's last tensor -> probabilities at the manifest's temperature.

    Probabilities p become softmax(log p / T), which is what dividing the logits by T would have given.
    """
    if output.kind == "probabilities":
        if output.temperature == 1.0:
            return values
        values = np.log(np.maximum(values, np.float32(1e-7)))
    scaled = values / np.float32(output.temperature)
    powers = np.exp(scaled - scaled.max())
    return np.asarray(powers / powers.sum(), np.float32)
