"""Whether the model is whole and computes here what it computed where it was converted, and what finds the faces."""

from __future__ import annotations

from pathlib import Path

from edge.config import ModelSettings, Settings, TensorRtSettings
from edge.doctor.finding import Finding, Findings, broken, good, skipped, warning
from edge.emotion.classify import DEFAULT_MODEL, open_classifier
from edge.emotion.manifest import manifest_path, read_manifest, verify_file
from edge.errors import EmotionEdgeError, RuntimeMissingError

ON_CPU = TensorRtSettings(use="off")


def check(settings: Settings, _root: Path = Path("/")) -> Findings:
    """Manifest, sha256 and golden scores of the model and its shadow; TensorRT; the face detector."""
    path = Path(settings.model.path).expanduser() if settings.model.path else DEFAULT_MODEL
    yield from model(path, settings.model, "model")
    if settings.model.shadow:
        yield from model(Path(settings.model.shadow).expanduser(), settings.model, "model.shadow")
    if path.suffix == ".onnx" and settings.tensorrt.use == "auto":
        yield tensorrt(settings.tensorrt)
    yield detector(settings)


def model(path: Path, settings: ModelSettings, name: str) -> Findings:
    """One model file, first as bytes, then at work."""
    if not path.is_file():
        yield broken(f"{name}.file", f"{path}: no such file", "correct model.path; edge-convert writes such files")
        return
    try:
        manifest = read_manifest(manifest_path(path))
        verify_file(manifest, path)
    except EmotionEdgeError as error:
        yield _from(error, f"{name}.file", "convert or copy it again, with its manifest beside it")
        return
    yield good(f"{name}.file", f"{path} is {manifest.identity} ({manifest.quantization}), byte for byte as its manifest says")
    if manifest.input.landmarks is not None:
        text = f"{path} was trained on aligned faces, which edge-run does not make"
        yield broken(f"{name}.golden", text, "take a model without landmarks in its manifest")
        return
    try:
        classifier = open_classifier(path, settings.threads, settings.delegate, ON_CPU)
    except RuntimeMissingError as error:
        yield _from(error, f"{name}.golden", "see the lines about wheels")
    except EmotionEdgeError as error:
        yield _from(error, f"{name}.golden", "convert it again, or install the runtime it was measured with")
    else:
        count = len(manifest.golden)
        yield good(f"{name}.golden", f"computes its {count} golden scores here as it should ({classifier.runtime.name})")


def tensorrt(settings: TensorRtSettings) -> Finding:
    """Whether the GPU can be used. No engine is built for it here: that takes minutes, and fills the cache."""
    from edge.runtime.trt_process import find_python

    python = find_python(settings.python)
    if python is None:
        text = "neither this Python nor the system's has tensorrt and pycuda, so the model runs on the CPU"
        return skipped("model.tensorrt", text, "on a Jetson: docs/tensorrt.md; elsewhere nothing is to be done")
    return good("model.tensorrt", f"TensorRT by {python}; edge-engine tells which engines are built")


def detector(settings: Settings) -> Finding:
    """What finds the faces."""
    from edge.faces import open_detector

    try:
        found = open_detector(settings.detector)
    except EmotionEdgeError as error:
        return _from(error, "model.detector", "edge-fetch yunet")
    if settings.detector.kind == "auto" and found.name.startswith("haar"):
        text = f"faces are found by {found.name}, which misses far more of them than yunet"
        return warning("model.detector", text, "edge-fetch yunet (for the service: --to /var/lib/emotion-edge/models)")
    return good("model.detector", f"faces are found by {found.name}")


def _from(error: EmotionEdgeError, name: str, otherwise: str) -> Finding:
    what, _, remedy = str(error).partition("; ")
    return broken(name, what, remedy or otherwise)
