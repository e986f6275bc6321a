"""Whether the model is whole and computes here what it computed where it was converted, and what finds the faces."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from edge.config import ModelSettings, Settings, TensorRtSettings
from edge.doctor.finding import Finding, Findings, broken, failed, good, skipped, warning
from edge.emotion.classify import DEFAULT_MODEL
from edge.emotion.manifest import manifest_path, read_manifest, verify_file
from edge.emotion.open import open_models
from edge.errors import EmotionEdgeError, RuntimeMissingError

ON_CPU = TensorRtSettings(use="off")


def check(settings: Settings, _root: Path = Path("/")) -> Findings:
    """Manifest, sha256 and golden scores of the model and its shadow; TensorRT; the face detector."""
    path = Path(settings.model.path).expanduser() if settings.model.path else DEFAULT_MODEL
    whole = True
    for finding in model(path, replace(settings.model, shadow=None), "model"):
        yield finding
        whole = whole and finding.verdict == "good"
    if settings.model.shadow:
        # Beside the first one, whose labels it must have; alone where that cannot be opened, as its line says.
        shadow = settings.model if whole else replace(settings.model, path=settings.model.shadow, shadow=None)
        yield from model(Path(settings.model.shadow).expanduser(), shadow, "model.shadow")
    if path.suffix == ".onnx" and settings.tensorrt.use == "auto":
        yield tensorrt(settings.tensorrt)
    yield detector(settings)


def model(path: Path, settings: ModelSettings, name: str) -> Findings:
    """One model file, first as bytes, then at work.

    Args:
        settings: what is opened for it.
        name: what its lines begin with.
    """
    if not path.is_file():
        remedy = f"correct {'model.path' if name == 'model' else name}; edge-convert writes such files"
        yield broken(f"{name}.file", f"{path}: no such file", remedy)
        return
    try:
        manifest = read_manifest(manifest_path(path))
        verify_file(manifest, path)
    except EmotionEdgeError as error:
        yield failed(f"{name}.file", error, "convert or copy it again, with its manifest beside it")
        return
    yield good(f"{name}.file", f"{path} is {manifest.identity} ({manifest.quantization}), byte for byte as its manifest says")
    try:
        opened = open_models(settings, ON_CPU)
    except RuntimeMissingError as error:
        yield failed(f"{name}.golden", error, "see the lines about wheels")
    except EmotionEdgeError as error:
        yield failed(f"{name}.golden", error, "convert it again, or install the runtime it was measured with")
    else:
        count = len(manifest.golden)
        yield good(f"{name}.golden", f"computes its {count} golden scores here as it should: {opened.describe()}")


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
        return failed("model.detector", error, "edge-fetch yunet")
    if settings.detector.kind == "auto" and found.name.startswith("haar"):
        text = f"faces are found by {found.name}, which misses far more of them than yunet"
        return warning("model.detector", text, "edge-fetch yunet (for the service: --to /var/lib/emotion-edge/models)")
    return good("model.detector", f"faces are found by {found.name}")
