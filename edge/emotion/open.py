"""The models that the settings name, opened and proven: the one that speaks, and the one in its shadow."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from edge.config import ModelSettings, TensorRtSettings
from edge.emotion.classify import DEFAULT_MODEL, Classifier, open_classifier
from edge.emotion.shadow import ShadowModel
from edge.errors import ModelError


class Models(NamedTuple):
    """What looks at the faces."""

    classifier: Classifier
    shadow: ShadowModel | None

    def describe(self) -> str:
        """For people: which models, and what computes them."""
        manifest, runtime = self.classifier.manifest, self.classifier.runtime.name
        shadow = f", {self.shadow.identity} in its shadow" if self.shadow else ""
        return f"{manifest.identity} ({manifest.quantization}, {runtime}){shadow}"


def open_models(settings: ModelSettings, tensorrt: TensorRtSettings) -> Models:
    """Open them, and hold each against its manifest and golden scores.

    Raises:
        ModelError, RuntimeMissingError: as `open_classifier`; also a model for aligned faces, and a shadow with other labels.
    """
    classifier = _open(settings.path, settings, tensorrt)
    if settings.shadow is None:
        return Models(classifier, None)
    second = _open(settings.shadow, settings, tensorrt)
    return Models(classifier, ShadowModel(second, classifier.manifest.labels, settings.shadow_share))


def _open(path: str | None, settings: ModelSettings, tensorrt: TensorRtSettings) -> Classifier:
    model = Path(path).expanduser() if path else DEFAULT_MODEL
    classifier = open_classifier(model, settings.threads, settings.delegate, tensorrt)
    if classifier.manifest.input.landmarks is not None:
        raise ModelError(f"{model}: was trained on aligned faces (landmarks in its manifest); edge-run does not align faces yet")
    return classifier
