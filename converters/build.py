"""One network -> its artifacts as bytes; what several of them need is made once."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.choose import Method
from calibration.ranges import Ranges
from converters.compress.activations import observe, watch_onnx, watch_tflite
from converters.compress.qdq import to_qdq
from converters.compress.quantize import left_in_float, quantize
from converters.compress.samples import Calibration
from converters.compress.sensitivity import LayerNoise, alone, describe, layers_of, noise_at_layers
from converters.export.onnx import to_onnx
from converters.export.tflite import save_fixed, to_tflite, without_names
from converters.formats import Format
from converters.loading.model import FloatModel
from converters.progress import Progress
from converters.proof.provenance import digest
from edge.emotion.manifest import InputSpec
from edge.emotion.preprocess import to_batch, to_tensor
from edge.errors import DataError

# Pictures that noise is measured with; a hundred more move no figure by half a dB.
LISTENED = 64


@dataclass(frozen=True, slots=True)
class Built:
    """An artifact that nobody has judged yet.

    Attributes:
        content: of its file.
        ranges: that its whole numbers stand for; None for float.
        layers: the noise at each, in the order in which they run; only of INT8 TFLite.
        in_float: layers that were left in float, worst first.
    """

    content: bytes
    ranges: Ranges | None = None
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
        network: str,
        method: Method | None = None,
        given: Sequence[Ranges] = (),
    ) -> None:
        """Prepare; nothing is made yet.

        Args:
            model: the network.
            spec: its input, channels last.
            calibration: pictures to observe ranges with.
            progress: see `Progress`.
            network: sha256 of the file that the network came from, which ranges are kept under.
            method: how a range is chosen; None is the best for the pictures.
            given: ranges of an earlier conversion, used instead of observing.

        Raises:
            DataError: given ranges are those of another network.
        """
        self._model, self._spec, self._calibration, self._progress = model, spec, calibration, progress
        self._network, self._method = network, method or calibration.method
        self._given = {ranges.graph: ranges for ranges in given}
        for ranges in given:
            if ranges.network != network:
                raise DataError(
                    f"--ranges: made for the network {ranges.network[:12]}…, this one is {network[:12]}…; leave the flag out"
                )
        self._observed: dict[str, Ranges] = {}
        self._alone: dict[str, float] = {}

    def __enter__(self) -> Builder:
        self._folder = tempfile.TemporaryDirectory(prefix="edge-convert-")
        save_fixed(self._model, self._spec.height, self._spec.width, Path(self._folder.name))
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
            DataError: the format cannot hold this network.
        """
        match form.flag:
            case "fp32":
                return Built(without_names(self._float))
            case "int8":
                return self._whole(in_float, forced)
            case "onnx-fp32":
                return Built(self._onnx)
            case "onnx-int8":
                ranges = self._ranges("onnx")
                return Built(to_qdq(self._onnx, ranges.tensors, in_float), ranges, in_float=tuple(in_float))
        return Built(without_names(to_tflite(Path(self._folder.name), form.quantization)))

    def worst(self, count: int) -> tuple[str, ...]:
        """The layers that do most harm when they alone are INT8, the worst first."""
        if not self._alone:
            # The float pictures, not those of the gate: what is measured later must not have chosen.
            self._alone = alone(self._float, self._ranges("tflite").tensors, self._pictures("NHWC")[:LISTENED], self._progress)
        return tuple(list(self._alone)[:count])

    @cached_property
    def _float(self) -> bytes:
        return to_tflite(Path(self._folder.name), "float32")

    @cached_property
    def _onnx(self) -> bytes:
        return to_onnx(self._model, self._spec.height, self._spec.width)

    def _whole(self, in_float: Sequence[str], forced: bool) -> Built:
        ranges, layers = self._ranges("tflite"), layers_of(self._float)
        content = quantize(self._float, ranges.tensors, {layers[name].tensor for name in in_float})
        kept = self._kept(content, in_float, forced)
        here = noise_at_layers(self._float, content, self._pictures("NHWC")[:LISTENED])
        return Built(without_names(content), ranges, describe(here, self._alone, self._float, kept), kept)

    def _kept(self, content: bytes, in_float: Collection[str], forced: bool) -> tuple[str, ...]:
        names = {operator.tensor: name for name, operator in layers_of(self._float).items()}
        others = [operator for operator in left_in_float(content) if names.get(operator.tensor, operator.layer) not in in_float]
        if others and not forced:
            what = ", ".join(f"{operator.kind} ({names.get(operator.tensor, operator.layer)})" for operator in others[:3])
            raise DataError(
                f"{self._model.path}: TFLite has no whole-number form of {what}; "
                "leave such layers in float with --keep-float 1, or take --dynamic"
            )
        return (*in_float, *(names.get(operator.tensor, operator.layer) for operator in others))

    def _ranges(self, graph: str) -> Ranges:
        if graph in self._given:
            return self._given[graph]
        if graph not in self._observed:
            pixels, whole = self._calibration.pixels, graph == "tflite"
            watch = watch_tflite(self._float) if whole else watch_onnx(self._onnx)
            pictures = self._progress(self._pictures("NHWC" if whole else "NCHW"), "observing ranges")
            tensors: Mapping[str, tuple[float, float]] = observe(watch, pictures, self._method)
            self._observed[graph] = Ranges(self._network, graph, self._method, len(pixels), digest(pixels), tensors)
        return self._observed[graph]

    def _pictures(self, layout: str) -> list[NDArray[np.float32]]:
        import msgspec

        spec = msgspec.structs.replace(self._spec, layout=layout)
        return [to_batch(to_tensor(picture, spec), spec) for picture in self._calibration.pixels]
