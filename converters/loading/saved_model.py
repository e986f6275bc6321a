"""SavedModel folders: TensorFlow graphs, loaded by their serving signature."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from converters.loading.model import FloatModel, check_output, choose_output, settle_input
from converters.quiet import import_tensorflow, quiet
from edge.errors import DataError, first_line

FILE = "saved_model.pb"
# Ops that reach out of the graph: files of this machine, or Python functions of another.
REACHING = frozenset({"EagerPyFunc", "MatchingFiles", "PyFunc", "PyFuncStateless", "ReadFile", "WriteFile"})
# Every SavedModel has these in its own saving functions, which are not run; a network that calls them itself is refused.
SAVING = frozenset({"MergeV2Checkpoints", "Restore", "RestoreV2", "Save", "SaveSlices", "SaveV2"})


def load_saved_model(
    path: Path,
    shape: Sequence[int] | None = None,
    output: str | int | None = None,
    loader: str = "",
    names: Sequence[str] = (),
) -> FloatModel:
    """Load a SavedModel by its `serving_default` signature.

    Args:
        path: the folder.
        shape, output: what a person says about it; see `converters.describe.Description`.
        loader: what the report says; by default TensorFlow's version.
        names: what the outputs `output_0`, `output_1`... of the signature are called; else they have the signature's names.

    Raises:
        DataError: not a SavedModel, damaged, without a signature, or with ops that reach out of the graph.
    """
    if not (path / FILE).is_file():
        raise DataError(f"{path}: a folder without {FILE} is not a SavedModel; give a .h5, .keras or SavedModel")
    tf, _ = import_tensorflow()
    _refuse(path, _ops(graph for graph in _graphs(path)), REACHING)
    try:
        with quiet():
            loaded = tf.saved_model.load(str(path))
    except Exception as error:  # noqa: BLE001  TensorFlow raises a dozen kinds, from OSError to its own C++ errors
        raise DataError(f"{path}: the SavedModel cannot be loaded ({first_line(error)})") from None
    signatures = dict(loaded.signatures)
    if "serving_default" not in signatures and len(signatures) != 1:
        raise DataError(f"{path}: has no serving signature; save it with model.export('folder')")
    function = signatures.get("serving_default") or next(iter(signatures.values()))
    _refuse(path, _ops([function.graph.as_graph_def()]), REACHING | SAVING)
    inputs = function.structured_input_signature[1]
    outputs = function.structured_outputs
    found = settle_input(path, [_shape(spec) for spec in inputs.values()], shape)
    keys = [f"output_{number}" for number in range(len(names))] or list(outputs)
    called = list(names) or keys
    chosen = choose_output(path, [(name, _shape(outputs[key])) for name, key in zip(called, keys, strict=True)], output)
    key, (name, spec) = keys[chosen], next(iter(inputs.items()))
    return FloatModel(
        path,
        loader or f"TensorFlow {tf.__version__} SavedModel",
        *found,
        check_output(path, _shape(outputs[key])),
        lambda tensor: function(**{name: tf.cast(tensor, spec.dtype)})[key],
        loaded,
    )


def _graphs(path: Path) -> list[Any]:
    from tensorflow.core.protobuf import saved_model_pb2

    content = saved_model_pb2.SavedModel()
    try:
        content.ParseFromString((path / FILE).read_bytes())
    except Exception as error:  # noqa: BLE001  protobuf's DecodeError has no types to import it with, and OSError
        raise DataError(f"{path}: {FILE} is damaged or cut short; copy or save it again ({error})") from None
    return [meta.graph_def for meta in content.meta_graphs]


def _ops(graphs: Iterable[Any]) -> Iterator[tuple[str, str]]:
    for graph in graphs:
        for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
            yield from ((node.op, node.name) for node in nodes)


def _refuse(path: Path, ops: Iterable[tuple[str, str]], refused: frozenset[str]) -> None:
    for op, name in ops:
        if op in refused:
            raise DataError(
                f"{path}: node {name!r} is a {op}, which reaches out of the network to files or Python code; "
                "save the model without it"
            )


def _shape(spec: Any) -> tuple[int | None, ...]:
    return tuple(spec.shape.as_list()) if spec.shape.rank is not None else ()
