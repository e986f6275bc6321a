"""edge-engine build|list|verify: TensorRT engines of this machine, made before the service needs them."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from edge.cli.exits import FAILED_GATE, OK, Parser, exit_status
from edge.errors import EngineError, ModelError, RuntimeMissingError

# A build that is through before this needs no progress, seconds.
PATIENCE = 2.0
# Of the first golden crops, seconds: nobody waits for a frame here.
TIMEOUT = 30.0


def main(argv: list[str] | None = None) -> int:
    parser = Parser(
        prog="edge-engine",
        description=__doc__,
        epilog="Exit status: 0 good, 1 an engine does not load or computes other scores than its manifest says, 2 unusable.",
    )
    parser.add_argument(
        "what",
        choices=["build", "list", "verify"],
        help="build: an engine of MODEL.onnx; list: what there "
        "is; verify: load every engine and compute its model's golden scores",
    )
    parser.add_argument("model", nargs="?", type=Path, metavar="MODEL.onnx", help="build: with its manifest beside it, if any")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="build: the .onnx models that edge-run's settings name, as they say; nothing to do where they name none",
    )
    parser.add_argument(
        "--precision",
        choices=["auto", "fp16", "fp32", "int8"],
        help="build: auto is int8 for a model with Q/DQ nodes, else fp16 where this GPU gains by it",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="DATA.npy",
        help="build: float32 (N, *input) as the network sees them, for int8 without Q/DQ nodes (Xavier)",
    )
    parser.add_argument("--force", action="store_true", help="build: although it is there")
    parser.add_argument("--cache", metavar="DIR", help="folder of the engines (default: where edge-run looks for them)")
    parser.add_argument("--python", metavar="PATH", help="interpreter that can import tensorrt and pycuda")
    parser.add_argument("--json", action="store_true", help="list, verify: for machines")
    return exit_status("edge-engine", lambda: _run(parser, parser.parse_args(argv)))


def _run(parser: Parser, arguments: argparse.Namespace) -> int:
    if arguments.what == "build" and (arguments.model is None) == (arguments.config is None):
        parser.error("build needs a MODEL.onnx or --config, not both")
    if arguments.what != "build" and (arguments.model or arguments.config):
        parser.error(f"{arguments.what} takes no model")
    models = _from_settings(arguments) if arguments.config else [arguments.model]
    if not models:
        print(f"{arguments.config} names no .onnx model for TensorRT: nothing to build")
        return OK
    # Imported late: --help and a mistake answer at once.
    from edge.runtime.engines import Engines, engine_folder

    engines = Engines(engine_folder(arguments.cache))
    if arguments.what == "list":
        return _list(engines, arguments.json)
    from edge.runtime.trt_process import Worker, find_python

    python = find_python(arguments.python)
    if python is None:
        raise RuntimeMissingError(
            "no Python here can import both tensorrt and pycuda; name one with --python (TensorRT comes with JetPack, "
            "pycuda is installed with pip beside it)"
        )
    worker = Worker(python)
    try:
        if arguments.what == "verify":
            return _verify(engines, worker, arguments.json)
        return max(_build(engines, worker, arguments, model) for model in models)
    finally:
        worker.close()


def _from_settings(arguments: argparse.Namespace) -> list[Path]:
    """The .onnx models that a configuration names; what else it says of TensorRT goes where no flag says otherwise."""
    from edge.config import read_settings

    settings = read_settings(arguments.config, {})
    if settings.tensorrt.use == "off":
        return []
    for name in ("cache", "python", "precision"):
        if getattr(arguments, name) is None:
            setattr(arguments, name, getattr(settings.tensorrt, name))
    named = (settings.model.path, settings.model.shadow)
    return [Path(path).expanduser() for path in named if path and path.endswith(".onnx")]


def _build(engines: Any, worker: Any, arguments: argparse.Namespace, model: Path) -> int:
    from edge.emotion.manifest import manifest_path, read_manifest, verify_file
    from edge.runtime.engines import choose_precision, describe, engine_key, sha256
    from edge.runtime.tensorrt import TensorRtRuntime

    if model.suffix != ".onnx" or not model.is_file():
        raise ModelError(f"{model}: no .onnx file; edge-convert --onnx makes one")
    content = verify_file(read_manifest(manifest_path(model)), model) if manifest_path(model).is_file() else model.read_bytes()
    pictures = _pictures(arguments.calibration) if arguments.calibration else None
    machine = describe(worker)
    precision = choose_precision(arguments.precision or "auto", content, machine)
    key = engine_key(content, machine, precision)
    record = engines.find(key)
    fresh = pictures is None or (record is not None and record.calibration == sha256(pictures.tobytes()))
    if record is not None and fresh and not arguments.force:
        print(f"{engines.path(key)} is there already (--force builds it again)")
        return OK
    progress = _Progress(f"building {model.name} ({precision}) for {machine.device}")
    try:
        record = engines.build(worker, machine, content, precision, model, pictures, progress)
    finally:
        progress.close()
    try:
        runtime = TensorRtRuntime(worker, engines.path(key), record, TIMEOUT)
        proof = _golden(model, runtime)
    except (EngineError, ModelError) as error:
        engines.remove(key)
        print(f"edge-engine: {error}; the engine was deleted", file=sys.stderr)
        return FAILED_GATE
    print(
        f"{engines.path(key)}: {record.bytes:,} bytes, {precision} ({', '.join(record.types)} in the model), TensorRT "
        f"{machine.tensorrt}, {machine.device}, built in {record.seconds:g} s, {proof}"
    )
    return OK


def _list(engines: Any, as_json: bool) -> int:
    records = engines.records()
    if as_json:
        print(json.dumps([{**msgspec.to_builtins(record), "file": str(engines.path(record.key))} for record in records]))
        return OK
    for record in records:
        print(
            f"{engines.path(record.key)}\n  {record.model or 'model unknown'}, sha256 {record.onnx[:12]}…, {record.precision}, "
            f"{record.bytes:,} bytes\n  {record.device} (sm {record.compute_capability}), TensorRT {record.tensorrt}, "
            f"L4T {record.l4t or 'none'}, built {record.built}"
        )
    if not records:
        print(f"no engines in {engines.folder}; edge-engine build MODEL.onnx makes one")
    return OK


def _verify(engines: Any, worker: Any, as_json: bool) -> int:
    found = list(_findings(engines, worker))
    if as_json:
        print(json.dumps(found))
    for entry in () if as_json else found:
        print(f"{'good' if entry['good'] else 'FAILED'}: {entry['file']}: {entry['finding']}")
    if not found and not as_json:
        print(f"no engines in {engines.folder}")
    return OK if all(entry["good"] for entry in found) else FAILED_GATE


def _findings(engines: Any, worker: Any) -> Iterator[dict[str, Any]]:
    from edge.runtime.tensorrt import TensorRtRuntime

    for record in engines.records():
        good, finding = False, "damaged: other bytes than were built; build it again"
        try:
            if engines.whole(record):
                runtime = TensorRtRuntime(worker, engines.path(record.key), record, TIMEOUT)
                if record.model is None:
                    finding = "loads, but nothing is known of its model; build it again with edge-engine build"
                else:
                    good, finding = True, _golden(Path(record.model), runtime, record.onnx)
        except (EngineError, ModelError) as error:
            good, finding = False, str(error)
        yield {"file": str(engines.path(record.key)), "key": record.key, "model": record.model, "good": good, "finding": finding}


def _golden(model: Path, runtime: Any, sha256: str | None = None) -> str:
    """Hold an engine against its model's manifest, and say how much that proves."""
    from edge.emotion.classify import Classifier, check
    from edge.emotion.manifest import manifest_path, read_manifest

    if sha256 is None and not manifest_path(model).is_file():
        return "not proved: the model has no manifest"
    manifest = read_manifest(manifest_path(model))
    if sha256 not in (None, manifest.sha256):
        raise ModelError(f"{model}: is another model by now; delete the engine, and build one of this")
    check(Classifier(manifest, runtime), model)
    return f"{len(manifest.golden)} golden scores as in {manifest_path(model).name}"


def _pictures(path: Path) -> Any:
    import numpy as np

    try:
        pictures = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not an .npy file of numbers ({error})") from None
    if not isinstance(pictures, np.ndarray) or pictures.dtype != np.float32 or pictures.ndim < 2 or not len(pictures):
        raise ModelError(f"{path}: float32 (N, *input) is expected, as the network sees its pictures")
    return np.ascontiguousarray(pictures)


class _Progress:
    """One line on the terminal, once it takes longer than a person's patience: TensorRT does not say how far it is."""

    def __init__(self, text: str) -> None:
        self._text, self._start, self._shown = text, time.monotonic(), False

    def __call__(self, past: float) -> None:
        if sys.stderr.isatty() and past > PATIENCE:
            self._shown = True
            print(f"\r{self._text}: {past:.0f} s", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._shown:
            print(file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
