"""edge-prune --ratio 0.3 model.keras: whole channels go, the network is built again without them, and fine-tuned if asked."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from converters.cli.flags import add_loading_flags
from edge.cli.exits import OK, Parser, exit_status
from edge.errors import DataError

if TYPE_CHECKING:
    from converters.datasets import Dataset
    from converters.describe import Description
    from converters.loading.model import FloatModel
    from converters.resolve import Resolved

PROG = "edge-prune"
EPILOG = """examples:
  edge-prune --ratio 0.3 model.keras                                        writes model.pruned.keras
  edge-prune --ratio 0.3 model.keras --data fer2013.csv --finetune 60       learns from the network before, and is measured
exit status: 0 pruned, 2 unusable input"""


def main(argv: list[str] | None = None) -> int:
    return exit_status(PROG, lambda: _prune(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROG, description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a .keras, .h5 or .hdf5 file that Keras 3 loads")
    parser.add_argument("--ratio", type=_ratio, required=True, help="share of the channels to remove, such as 0.3")
    parser.add_argument("--rank", choices=("gamma", "l1"), default="gamma", help="by batch-norm scale (default) or filter norm")
    parser.add_argument("--multiple", type=_whole, default=4, metavar="N", help="what is kept is a multiple of N (default 4)")
    parser.add_argument("--data", type=Path, help="fer2013.csv, an .npz, or a folder of images by class: accuracy is measured")
    parser.add_argument(
        "--finetune", type=_whole, metavar="N", help="epochs of distillation from the network before; needs --data"
    )
    parser.add_argument("--run", type=Path, help="folder of the fine-tuning's checkpoints (default: beside the result)")
    parser.add_argument("-o", "--output-file", type=Path, metavar="FILE", help="default: <model>.pruned.keras beside the model")
    parser.add_argument("--force", action="store_true", help="replace what is there")
    add_loading_flags(parser)
    return parser


def _prune(arguments: argparse.Namespace) -> int:
    source: Path = arguments.model
    output: Path = arguments.output_file or source.with_name(f"{source.stem}.pruned.keras")
    if arguments.finetune and not arguments.data:
        raise DataError("--finetune learns from pictures; give them with --data")
    if arguments.run and not arguments.finetune:
        raise DataError("--run is the folder of a fine-tuning; add --finetune and a number of epochs")
    from converters.cli.flags import described, loading, show_progress
    from converters.compress.prune import keras_model, prunable, prune
    from converters.datasets import require
    from converters.describe import read_sidecar, sidecar, sidecar_path
    from converters.load import load_model
    from converters.outputs import write_all
    from converters.proof.cost import macs, parameters
    from converters.quiet import quiet
    from converters.shrink import check_trainable

    if arguments.data:
        require(arguments.data)
    sidecar_file, copy = sidecar_path(source), output.with_suffix(".toml")
    if source.exists():
        _check_output(source, [output, copy] if sidecar_file.is_file() else [output], arguments.force)
    given = described(arguments).over(read_sidecar(source)) if source.exists() else described(arguments)
    model = load_model(source, given, loading(arguments))
    teacher = keras_model(model)
    with quiet():
        pruned = prune(teacher, arguments.ratio, arguments.rank, arguments.multiple, str(source))
    size = None if model.height is None or model.width is None else (model.height, model.width)
    before, after = ([prunable(network), parameters(network), macs(network, size)] for network in (teacher, pruned))
    if after == before and arguments.ratio:
        raise DataError(
            f"{source}: nothing goes at a ratio of {arguments.ratio:g} when multiples of {arguments.multiple} are kept; "
            "raise --ratio or lower --multiple"
        )
    measure, accuracies = None, []
    if arguments.data:
        measure = _Measure(model, given, arguments.data, show_progress)
        accuracies = [measure(teacher), measure(pruned)]
        if arguments.finetune:
            check_trainable(model, measure.resolved)
    content = _bytes(pruned)
    _table(source, output, arguments.multiple, [before, after], measure.what if measure else "", accuracies)
    if measure is not None and arguments.finetune:
        folder = arguments.run or output.with_suffix(".finetune")
        best = _finetune(pruned, teacher, measure.data, arguments.finetune, folder)
        content = best.read_bytes()
        print(f"{measure.what} after fine-tuning: {measure(_loaded(best)):.2%}")
    files = {output: content}
    if sidecar_file.is_file():
        # Another network: by another name, and as sure of itself as edge-convert will find.
        name = None if given.name is None else f"{given.name}-pruned"
        files[copy] = sidecar(msgspec.structs.replace(given, name=name, temperature=None, output=None))
    write_all(files)
    print(f"{PROG}: wrote {output}{' and its .toml' if copy in files else ''}", file=sys.stderr)
    return OK


class _Measure:
    """Accuracy as edge-convert measures the float network: through edge's own preprocessing, on rows held out."""

    def __init__(self, model: FloatModel, given: Description, path: Path, track: Any) -> None:
        from converters.datasets import open_dataset
        from converters.datasets.align import align
        from converters.resolve import resolve, resolve_labels

        labels = resolve_labels(model, given.labels)
        data, _ = align(open_dataset(path, labels), labels)
        if not len(data.train) or not len(data.held_out) or data.held_out.labels is None:
            raise DataError(f"{path}: no labelled pictures to measure with; put them into folders named like their classes")
        self.data: Dataset = data
        self.resolved: Resolved = resolve(model, model.predictor(), given, data.train, seed=0)
        self.what = f"{data.held_out_name} accuracy"
        self._model, self._track = model, track
        for warning in self.resolved.warnings:
            print(f"{PROG}: warning: {warning}", file=sys.stderr)

    def __call__(self, network: Any) -> float:
        from converters.proof.measure import measure_float
        from converters.shrink import with_network

        predict = with_network(self._model, network).predictor()
        measured = measure_float(self.data, self.resolved, predict, self._track)
        return float((measured.reference.argmax(axis=1) == measured.truth).mean())


def _check_output(source: Path, outputs: list[Path], force: bool) -> None:
    """Find out before the long work whether its result could be kept."""
    from converters.outputs import check_free

    if outputs[0].suffix != ".keras":
        raise DataError(f"{outputs[0]}: the result is a Keras file; give -o a name that ends in .keras")
    if outputs[0].resolve() == source.resolve():
        raise DataError(f"{outputs[0]}: is the network to prune; give another one with -o")
    check_free(outputs, force)


def _bytes(network: Any) -> bytes:
    from converters.quiet import quiet

    try:
        with tempfile.TemporaryDirectory(prefix="edge-prune-") as folder, quiet():
            network.save(Path(folder) / "pruned.keras")
            return (Path(folder) / "pruned.keras").read_bytes()
    except OSError as error:
        raise DataError(f"{tempfile.gettempdir()}: the result cannot be written there ({error.strerror}); make room") from None


def _finetune(pruned: Any, teacher: Any, data: Dataset, epochs: int, folder: Path) -> Path:
    from converters.cli.flags import show_progress
    from converters.cli.training import progress_bar
    from converters.training.finetune import finetune

    with progress_bar(data.held_out_name) as (report, step):
        return finetune(pruned, teacher, data, epochs, folder, report, step, show_progress)


def _loaded(best: Path) -> Any:
    import keras

    from converters.quiet import quiet

    with quiet():
        return keras.models.load_model(best, compile=False)


def _table(source: Path, output: Path, multiple: int, costs: list[list[int]], what: str, accuracies: list[float]) -> None:
    rows = [
        (name, f"{before:,}", f"{after:,}", f"{after / before - 1:+.1%}")
        for name, before, after in zip((f"channels, by {multiple}", "parameters", "MACs"), *costs, strict=True)
    ]
    if accuracies:
        before, after = accuracies
        rows.append((what, f"{before:.2%}", f"{after:.2%}", f"{100 * (after - before):+.2f} points"))
    widths = [max(len(row[column]) for row in [*rows, ("", "before", "after", "")]) for column in range(4)]
    print(f"{source.name} -> {output.name}")
    for row in [("", "before", "after", ""), *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells).rstrip())
    sys.stdout.flush()


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to below 1, such as 0.3")
    return ratio


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
