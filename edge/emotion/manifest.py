"""The manifest: the only description of a model. Converters write it, edge reads it, one code applies it on both sides."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from edge.errors import ModelError, first_line

FORMAT = 1

Positive = Annotated[int, msgspec.Meta(ge=1)]
# What float32 computes with, without an overflow.
Number = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
Temperature = Annotated[float, msgspec.Meta(ge=1e-3, le=1e3)]
# int8 is whole-number arithmetic throughout; -mixed leaves some layers in float, -dynamic keeps only the weights in INT8,
# -qdq is float ONNX with quantize and dequantize nodes, from which TensorRT makes INT8.
Quantization = Literal["float32", "float16", "int8", "int8-mixed", "int8-dynamic", "int8-qdq"]


class InputSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the network wants to see: x = (pixel - mean) * scale, after colour and resize.

    Attributes:
        height, width, channels: of one picture, in pixels.
        color: `gray` (1 channel), or the order of 3 channels.
        resize: OpenCV's interpolation from the native crop to the tensor's size.
        mean, scale: one number for all channels, or one for each.
        landmarks: the template of a network trained on aligned crops, five (x, y) as fractions of the side; else None.
        layout: order of the tensor's axes: NHWC as TFLite wants it, NCHW as ONNX and TensorRT do.
    """

    height: Positive
    width: Positive
    channels: Literal[1, 3]
    color: Literal["gray", "rgb", "bgr"]
    mean: tuple[Number, ...]
    scale: tuple[Number, ...]
    resize: Literal["area", "linear", "linear_exact", "cubic"] = "area"
    landmarks: tuple[tuple[Number, Number], ...] | None = None
    layout: Literal["NHWC", "NCHW"] = "NHWC"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the tensor of one picture."""
        if self.layout == "NCHW":
            return (1, self.channels, self.height, self.width)
        return (1, self.height, self.width, self.channels)

    def __post_init__(self) -> None:
        if (self.color == "gray") != (self.channels == 1):
            raise ValueError(f"color {self.color!r} does not fit {self.channels} channels")
        for name, values in (("mean", self.mean), ("scale", self.scale)):
            if len(values) not in (1, self.channels):
                raise ValueError(f"{name} has {len(values)} numbers, expected 1 or {self.channels}")
        if self.landmarks is not None and len(self.landmarks) != 5:
            raise ValueError(f"landmarks has {len(self.landmarks)} points, expected 5")


class OutputSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the network says.

    Attributes:
        kind: whether the last tensor holds logits or already probabilities.
        temperature: logits are divided by it (Guo et al. 2017, arXiv:1706.04599).
    """

    kind: Literal["logits", "probabilities"]
    temperature: Temperature = 1.0


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A crop that anyone can make again (`edge.emotion.golden`) and the model's calibrated scores for it."""

    rule: str
    scores: tuple[Number, ...]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One artifact's description; see docs/manifest.md for every key.

    Attributes:
        file: name of the artifact, beside the manifest.
        sha256, bytes: of the artifact, checked before any runtime parses it.
        labels: class names in the order of the outputs.
        recipe: how the artifact was made. metrics: how good it is. Both are for people and reports, not for edge.
        golden: three or more checks that this machine computes what the converting machine computed.
    """

    format: int
    name: str
    version: str
    file: str
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    bytes: Positive
    labels: Annotated[tuple[str, ...], msgspec.Meta(min_length=2)]
    input: InputSpec
    output: OutputSpec
    quantization: Quantization
    golden: tuple[Golden, ...]
    recipe: dict[str, Any] = {}
    metrics: dict[str, Any] = {}

    @property
    def identity(self) -> str:
        """Name, version and the first digits of the hash, as events carry it."""
        return f"{self.name} {self.version} {self.sha256[:8]}"


def manifest_path(model: Path) -> Path:
    """model.int8.tflite -> model.int8.json; model.qdq.onnx -> model.qdq.json; but model.onnx -> model.onnx.json.

    A bare `model.onnx` keeps its suffix so that it never claims the name of the model itself.
    """
    stem = model.with_suffix("")
    if model.suffix == ".onnx" and stem.suffix != ".qdq":
        return model.with_name(model.name + ".json")
    return stem.with_name(stem.name + ".json") if stem.suffix else model.with_name(model.name + ".json")


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        ModelError: missing, not JSON, of another format, or with a key that is unknown, missing or of the wrong type.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: the model's manifest cannot be read ({error.strerror}); edge-convert writes it") from None
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{path}: not a model manifest ({first_line(error)})") from None
    if manifest.format != FORMAT:
        raise ModelError(f"{path}: manifest format {manifest.format}; this version reads format {FORMAT}")
    if len(set(manifest.labels)) != len(manifest.labels):
        raise ModelError(f"{path}: a label stands twice in {', '.join(manifest.labels)}")
    return manifest


def verify_file(manifest: Manifest, model: Path) -> bytes:
    """Read a model file and hold it against its manifest, before any runtime parses a byte of it.

    Returns:
        The file's content, so that what was checked is what is loaded.

    Raises:
        ModelError: the file is missing, or its name, size or sha256 is another.
    """
    try:
        content = model.read_bytes()
    except OSError as error:
        raise ModelError(f"{model}: the model cannot be read ({error.strerror})") from None
    if manifest.file != model.name:
        raise ModelError(f"{model}: its manifest describes {manifest.file!r}; keep the two names as edge-convert wrote them")
    if len(content) != manifest.bytes:
        raise ModelError(f"{model}: {len(content)} bytes, its manifest says {manifest.bytes}; the file is damaged or another one")
    digest = hashlib.sha256(content).hexdigest()
    if digest != manifest.sha256:
        raise ModelError(
            f"{model}: sha256 is {digest[:12]}…, its manifest says {manifest.sha256[:12]}…; convert or copy it again"
        )
    return content
