"""A file or folder -> the float network, by a ladder: read the config, then Keras 3, then tf-keras, then say why not."""

from __future__ import annotations

import logging
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from converters.describe import NOTHING_GIVEN, Description
from converters.loading.files import KINDS, read_config
from converters.loading.layers import refuse_lambda, refuse_unknown, rescales
from converters.loading.mend import is_keras2
from converters.loading.model import FloatModel
from edge.errors import DataError

__all__ = ["NO_HELP", "FloatModel", "Loading", "load_model"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loading:
    """What a person allows or gives so that a file can be loaded; see docs/loading.md.

    Attributes:
        allow_lambda: build Lambda layers, which run Python code that is inside the file.
        custom_objects: the user's own Python file with the classes that the model needs; it is run.
        architecture: where the network of a file of weights is described; a .py is run.
    """

    allow_lambda: bool = False
    custom_objects: Path | None = None
    architecture: Path | None = None


NO_HELP = Loading()


def load_model(path: Path, given: Description = NOTHING_GIVEN, loading: Loading = NO_HELP) -> FloatModel:
    """Load a Keras .h5, .hdf5 or .keras file or a SavedModel folder. No code of the file runs unless allowed.

    Args:
        path: the file or folder.
        given: what is known about the model; its `shape` and `output` are used here.
        loading: what is allowed, and files that belong to the model.

    Raises:
        DataError: one sentence that says what the file is instead, or which layer cannot be built, and what to do.
        RuntimeMissingError: TensorFlow or Keras is not installed.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; {KINDS}")
    if path.is_dir():
        from converters.loading.saved_model import load_saved_model

        return load_saved_model(path, given.shape, given.output)
    config = read_config(path)
    if config is not None and loading.architecture is not None:
        raise DataError(f"{path}: holds its network itself; leave --architecture out")
    if config is None:
        return _load_weights(path, given, loading)
    return _climb(path, config, given, loading, whole=True)


def _climb(path: Path, config: dict[str, Any], given: Description, loading: Loading, whole: bool) -> FloatModel:
    """Keras 3, then tf-keras where that may help; `whole` says whether the file holds the network, or weights alone."""
    source = path if whole else loading.architecture or path
    if not loading.allow_lambda:
        refuse_lambda(source, config)
    from converters.loading.custom import read_custom
    from converters.loading.keras3 import as_float_model, build_keras3, fill, load_keras3
    from converters.quiet import import_tensorflow

    _, keras = import_tensorflow()
    objects = read_custom(loading.custom_objects)
    refuse_unknown(source, config, keras, objects)
    try:
        if whole:
            model = load_keras3(path, config, objects, loading.allow_lambda)
        else:
            model = build_keras3(config, objects, loading.allow_lambda)
            fill(model, path)
        return as_float_model(path, model, config, given.shape, given.output)
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001  Keras raises anything from TypeError to its own kinds on an old file
        reason = f"Keras {keras.__version__}: {_reason(error)}"
    advice = "save it again as .keras with the Keras that it was made with"
    if not whole:
        advice = f"give as --architecture the network that the weights were saved from; {source} may be another"
    if not is_keras2(config):
        raise DataError(f"{path}: cannot be loaded ({reason}); {advice}")
    log.info("%s: %s; trying tf-keras", path, reason)
    return _load_keras2(path, None if whole else config, given, loading, reason, advice, rescales(config))


def _load_weights(path: Path, given: Description, loading: Loading) -> FloatModel:
    from converters.loading.architecture import HELP, read_architecture

    if loading.architecture is None:
        raise DataError(f"{path}: holds weights without the network; {HELP}")
    config, model = read_architecture(loading.architecture)
    if config is not None:
        return _climb(path, config, given, loading, whole=False)
    from converters.loading.keras3 import as_float_model, fill

    try:
        fill(model, path)
    except Exception as error:  # noqa: BLE001  Keras raises a dozen kinds when weights do not fit
        raise DataError(
            f"{path}: its weights do not fit the network of {loading.architecture} ({_reason(error)}); "
            "give the one that they were saved from"
        ) from None
    return as_float_model(path, model, model.get_config(), given.shape, given.output)


def _load_keras2(
    path: Path,
    config: dict[str, Any] | None,
    given: Description,
    loading: Loading,
    before: str,
    advice: str,
    rescaled: bool,
) -> FloatModel:
    from converters.loading.keras2 import MODEL, Keras2Request, export_with_keras2
    from converters.loading.saved_model import load_saved_model

    custom = None if loading.custom_objects is None else str(loading.custom_objects.resolve())
    request = Keras2Request(str(path.resolve()), config, custom, loading.allow_lambda, given.shape)
    with tempfile.TemporaryDirectory(prefix="edge-convert-") as folder:
        try:
            loader, names = export_with_keras2(request, Path(folder))
        except DataError as error:
            raise DataError(f"{path}: cannot be loaded ({before}; {error}); {advice}") from None
        try:
            # Loading reads all weights into memory, so the folder may go.
            model = load_saved_model(Path(folder) / MODEL, given.shape, given.output, loader, names)
        except DataError as error:
            raise DataError(str(error).replace(str(Path(folder) / MODEL), str(path))) from None
    return replace(model, path=path, rescales=rescaled)


def _reason(error: Exception) -> str:
    """Keras' messages hold whole configs; the class and the name of the layer are what a person needs."""
    text = " ".join(str(error).split()) or type(error).__name__
    # An error inside a layer comes wrapped in one sentence for each network around it.
    cause = text.rsplit("Exception encountered: ", 1)[-1]
    found = re.findall(r"class '(\w+)' using config=\{.*?'name': '([^']+)'", text)
    if not found:
        found = re.findall(r"'class_name': '(\w+)', 'config': \{.*?'name': '([^']+)'", text)
    layer = f"layer {found[-1][1]!r} of class {found[-1][0]}: " if found else ""
    return layer + cause[:140].rstrip() + ("…" if len(cause) > 140 else "")
