"""INT8 beside the usual tools, on the same networks, with the same pictures, in one run.

    pip install ai-edge-quantizer
    python benchmarks/tools.py MODEL.keras ... --data fer2013.csv

- TensorFlow: TFLiteConverter as its guide shows it, full INT8 with a representative data set.
- ai-edge-quantizer: its static INT8 recipe on the float .tflite.
- ONNX Runtime: quantize_static with its defaults on the float .onnx (which is the same for both sides).

Each tool gets the pictures that edge-convert chooses. Measured on PublicTest through edge's own classifier, one thread;
all networks take turns for the latency.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.build import Builder, Built
from converters.case import open_case
from converters.formats import FORMATS, Format
from converters.judge import open_built
from converters.progress import unseen
from converters.proof.compare import latencies
from converters.quiet import import_tensorflow, quiet
from converters.request import Request
from edge.emotion.preprocess import to_tensor

Tensors = NDArray[np.float32]


def tensorflow(saved: Path, _: bytes, tensors: Tensors) -> bytes:
    tf, _keras = import_tensorflow()
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([tensor[None]] for tensor in tensors)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def ai_edge_quantizer(_: Path, content: bytes, tensors: Tensors) -> bytes:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    runner = Interpreter(model_content=content).get_signature_runner()
    name = next(iter(runner.get_input_details()))
    maker = quantizer.Quantizer(content, recipe.static_wi8_ai8())
    seen = maker.calibrate({"serving_default": [{name: tensor[None]} for tensor in tensors]})
    return bytes(maker.quantize(seen).quantized_model)


def onnx_runtime(_: Path, content: bytes, tensors: Tensors) -> bytes:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(tensors.transpose(0, 3, 1, 2))

        def get_next(self) -> Any:
            tensor = next(self._left, None)
            return None if tensor is None else {"image": np.ascontiguousarray(tensor[None])}

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(content)
        quantize_static(str(before), str(after), Reader())
        return after.read_bytes()


TOOLS: dict[str, tuple[Callable[[Path, bytes, Tensors], bytes], str]] = {
    "TFLiteConverter": (tensorflow, "fp32"),
    "ai-edge-quantizer": (ai_edge_quantizer, "fp32"),
    "onnxruntime quantize_static": (onnx_runtime, "onnx-fp32"),
}


def report(path: Path, data: Path) -> None:
    """Print the table of one network."""
    from converters.export.tflite import save_fixed, to_tflite

    case = open_case(Request(path, ("int8",), Path(), data), unseen)
    spec, pixels, truth = case.resolved.input, case.measured.pixels, case.measured.truth
    tensors = to_tensor(case.calibration.pixels, spec)
    made: list[tuple[str, Format, Built | str]] = []
    with (
        Builder(case.model, spec, case.calibration, unseen) as builder,
        tempfile.TemporaryDirectory() as folder,
    ):
        saved = Path(folder)
        save_fixed(case.model, spec.height, spec.width, saved)
        named = to_tflite(saved, "float32")
        for title, flag in (("float32", "fp32"), ("edge-convert --int8", "int8"), ("edge-convert --onnx-int8", "onnx-int8")):
            made.append((title, FORMATS[flag], builder.build(FORMATS[flag], forced=True)))
        for title, (tool, base) in TOOLS.items():
            form = FORMATS["int8" if base == "fp32" else "onnx-int8"]
            try:
                with quiet():
                    content = tool(saved, named if base == "fp32" else builder.build(FORMATS[base]).content, tensors)
                made.append((title, form, Built(content)))
            except Exception as error:  # noqa: BLE001  what a tool cannot do is part of the comparison
                made.append((title, form, f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"))
    print(f"\n## {path.name}\n\n| tool | agreement | accuracy | kB | ms |\n|---|---|---|---|---|")
    working = [(title, built, open_built(case, form, built, "a")) for title, form, built in made if isinstance(built, Built)]
    times = latencies([(classifier, pixels) for *_, classifier in working])
    for (title, built, classifier), time in zip(working, times, strict=True):
        said = np.stack([classifier.scores(picture) for picture in pixels]).argmax(axis=1)
        agreement, right = (said == case.measured.reference.argmax(axis=1)).mean(), (said == truth).mean()
        print(f"| {title} | {agreement:.2%} | {right:.2%} | {len(built.content) / 1000:.1f} | {time:.3f} |", flush=True)
    for title, _, problem in made:
        if isinstance(problem, str):
            print(f"| {title} | cannot: {problem} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    for path in arguments.models:
        report(path, arguments.data)


if __name__ == "__main__":
    main()
