"""One network -> its artifacts as bytes; what several of them need is made once."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from calibration.choose import Method
from calibration.ranges import Ranges
from converters.compress.activations import Watch, observe, watch_onnx, watch_tflite
from converters.compress.flatbuffer import input_name, operators, without_names
from converters.compress.qdq import quantized_layers, to_qdq
from converters.compress.quantize import left_in_float, quantize
from converters.compress.samples import Calibration
from converters.compress.sensitivity import LayerNoise, alone, describe, layers_of, noise_at_layers
from converters.export.onnx import INPUT, OUTPUT, to_onnx
from converters.export.tflite import save_fixed, to_tflite
from converters.formats import Format
from converters.loading.model import FloatModel
from converters.progress import Progress
from converters.proof.provenance import digest
from edge.emotion.manifest import InputSpec
from edge.emotion.preprocess import pixel_table, to_batch, to_tensor
from edge.errors import DataError

# Pictures that noise is measured with; a hundred more move no figure by half a dB.
LISTENED = 64
TFLITE, ONNX = "tflite", "onnx"


@dataclass(frozen=True, slots=True)
class Built:
    """An artifact that nobody has judged yet.

    Attributes:
        content: of its file.
        ranges: that its whole numbers stand for; None for float.
        given: whether the ranges came from an earlier conversion.
        layers: the noise at each, in the order in which they run; only of INT8 TFLite.
        in_float: layers that were left in float, worst first.
    """

    content: bytes
    ranges: Ranges | None = None
    given: bool = False
    layers: tuple[LayerNoise, ...] = ()
    in_float: tuple[str, ...] = ()


class Builder:
    """Makes artifacts of one network with one set of pictures; use as a context manager."""

    def __init__(
        self,
        model: FloatModel,
        spec: InputSpec,
        calibration: Calibration,
        progress: Progress,
        method: Method | None = None,
        given: Sequence[Ranges] = (),
    ) -> None:
        """Prepare; nothing is made yet.

        Args:
            model: the network.
            spec: its input, channels last.
            calibration: pictures to observe ranges with.
            progress: see `Progress`.
            method: how a range is chosen; None is the best for the pictures.
            given: ranges of an earlier conversion, used instead of observing.
        """
        self._model, self._spec, self._calibration, self._progress = model, spec, calibration, progress
        self._method: Method = method or calibration.method
        self._given = {ranges.graph: ranges for ranges in given}
        self._observed: dict[str, Ranges] = {}
        self._alone: dict[str, dict[str, float]] = {TFLITE: {}, ONNX: {}}

    def __enter__(self) -> Builder:
        self._folder = tempfile.TemporaryDirectory(prefix="edge-convert-")
        try:
            save_fixed(self._model, self._spec.height, self._spec.width, Path(self._folder.name))
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def build(self, form: Format, in_float: Sequence[str] = (), forced: bool = False) -> Built:
        """Make one artifact.

        Args:
            form: which.
            in_float: layers that stay in float, from `worst`.
            forced: whether layers that have no whole-number form may stay in float too.

        Raises:
            DataError: the format cannot hold this network, or the given ranges are those of another.
        """
        match form.flag:
            case "fp32":
                return Built(without_names(self._float))
            case "int8":
                return self._whole(in_float, forced)
            case "onnx-fp32":
                return Built(self._onnx)
            case "onnx-int8":
                ranges = self._ranges(ONNX)
                content = to_qdq(self._onnx, ranges.tensors, in_float)
                return Built(content, ranges, ONNX in self._given, in_float=tuple(in_float))
        return Built(without_names(to_tflite(Path(self._folder.name), form.quantization)))

    def worst(self, form: Format, count: int) -> tuple[str, ...]:
        """The layers that do most harm to a whole-number artifact when they alone are INT8, the worst first."""
        graph = ONNX if form.flag == "onnx-int8" else TFLITE
        if not self._alone[graph]:
            # Of the pictures that calibrated, not those of the gate: what is measured later must not have chosen.
            self._alone[graph] = self._onnx_alone() if graph == ONNX else self._tflite_alone()
        return tuple(list(self._alone[graph])[:count])

    @cached_property
    def _float(self) -> bytes:
        return to_tflite(Path(self._folder.name), "float32")

    @cached_property
    def _onnx(self) -> bytes:
        return to_onnx(self._model, self._spec.height, self._spec.width)

    def _tflite_alone(self) -> dict[str, float]:
        content, ranges, layers = self._float, self._ranges(TFLITE).tensors, layers_of(self._float)
        pictures, last = self._pictures("NHWC", LISTENED), operators(content)[-1].tensor

        def answer(in_float: Sequence[str] | None) -> NDArray[np.float32]:
            kept = None if in_float is None else {layers[name].tensor for name in in_float}
            made = content if kept is None else quantize(content, ranges, kept, whole_ends=False)
            return _answers(watch_tflite(made), last, pictures)

        return alone(list(layers), answer, self._progress)

    def _onnx_alone(self) -> dict[str, float]:
        content, ranges, pictures = self._onnx, self._ranges(ONNX).tensors, self._pictures("NCHW", LISTENED)

        def answer(in_float: Sequence[str] | None) -> NDArray[np.float32]:
            return _answers(watch_onnx(content if in_float is None else to_qdq(content, ranges, in_float)), OUTPUT, pictures)

        return alone(quantized_layers(content), answer, self._progress)

    def _whole(self, in_float: Sequence[str], forced: bool) -> Built:
        ranges, layers = self._ranges(TFLITE), layers_of(self._float)
        content = quantize(self._float, ranges.tensors, {layers[name].tensor for name in in_float})
        kept = self._kept(content, in_float, forced)
        here = noise_at_layers(self._float, content, self._pictures("NHWC", LISTENED))
        noise = describe(here, self._alone[TFLITE], self._float, kept)
        return Built(without_names(content), ranges, TFLITE in self._given, noise, kept)

    def _kept(self, content: bytes, in_float: Collection[str], forced: bool) -> tuple[str, ...]:
        names = {operator.tensor: name for name, operator in layers_of(self._float).items()}
        found = {names.get(operator.tensor, operator.layer): operator.kind for operator in left_in_float(content)}
        others = [name for name in found if name not in in_float]
        if others and not forced:
            what = ", ".join(f"{found[name]} ({name})" for name in others[:3])
            raise DataError(
                f"{self._model.path}: TFLite has no whole-number form of {what}; "
                "leave such layers in float with --keep-float 1, or take --dynamic"
            )
        return (*in_float, *others)

    def _ranges(self, graph: str) -> Ranges:
        network = self._identity(graph)
        if (given := self._given.get(graph)) is not None:
            if given.network != network:
                raise DataError(
                    f"--ranges: made for another network than {self._model.path}, or for another input or version of TensorFlow; "
                    "leave the flag out, then they are made again"
                )
            return given
        if graph not in self._observed:
            tflite = graph == TFLITE
            watch = watch_tflite(self._float) if tflite else watch_onnx(self._onnx)
            pictures = self._pictures("NHWC" if tflite else "NCHW", len(self._calibration.pixels))
            tensors = observe(watch, self._progress(pictures, "observing ranges"), self._method)
            # The contract knows it: whatever the pictures are, a pixel is 0 to 255.
            table = pixel_table(self._spec)
            entry = input_name(self._float) if tflite else INPUT
            tensors[entry] = (min(float(table.min()), 0.0), max(float(table.max()), 0.0))
            seen = digest(self._calibration.pixels)
            self._observed[graph] = Ranges(network, graph, self._method, len(pictures), seen, tensors)
        return self._observed[graph]

    def _identity(self, graph: str) -> str:
        """sha256 of the float graph and of how its input is made: what ranges belong to."""
        content = self._float if graph == TFLITE else self._onnx
        return hashlib.sha256(msgspec.json.encode(self._spec) + content).hexdigest()

    def _pictures(self, layout: str, count: int) -> list[NDArray[np.float32]]:
        spec = msgspec.structs.replace(self._spec, layout=layout)
        return [to_batch(to_tensor(picture, spec), spec) for picture in self._calibration.pixels[:count]]


def _answers(watch: Watch, last: str, pictures: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate([watch(picture)[last] for picture in pictures])
