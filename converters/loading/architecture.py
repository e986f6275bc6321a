"""The network of a file that holds weights alone: a config, a model file, a recipe, or a Python file that builds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.loading.custom import own_names, run_file
from converters.loading.files import parse_config, read_config
from converters.quiet import import_tensorflow, quiet
from edge.errors import DataError

HELP = "give the network with --architecture: a .json of model.to_json(), a .keras or .h5, a recipe .toml, or a .py with build()"


def read_architecture(path: Path) -> tuple[dict[str, Any] | None, Any]:
    """Read what describes a network.

    Args:
        path: a .json, .keras, .h5 or .hdf5 file, a recipe .toml of edge-train, or a .py file, which is run.

    Returns:
        Either a config, or the Keras model that a recipe or a Python file builds.

    Raises:
        DataError: it describes no network, or building it fails.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; {HELP}")
    match path.suffix.lower():
        case ".json":
            return parse_config(path, _text(path)), None
        case ".keras" | ".h5" | ".hdf5":
            config = read_config(path)
            if config is None:
                raise DataError(f"{path}: holds weights too, and no network; {HELP}")
            return config, None
        case ".toml":
            return None, _from_recipe(path)
        case ".py":
            return None, _from_python(path)
    raise DataError(f"{path}: describes no network that is known here; {HELP}")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


def _from_recipe(path: Path) -> Any:
    import_tensorflow()
    from converters.networks import Given, build_network
    from converters.recipe import read_recipe

    recipe = read_recipe(path)
    if isinstance(recipe.network, Given):
        raise DataError(f'{path}: family = "given" describes no network; give the .keras file that the training started from')
    with quiet():
        return build_network(recipe.network, (recipe.size, recipe.size, 1), len(recipe.labels))


def _from_python(path: Path) -> Any:
    _, keras = import_tensorflow()
    module = run_file(path, "architecture")
    build = own_names(module).get("build")
    if build is None:
        raise DataError(f"{path}: has no function build(); it has to return the Keras model, without arguments")
    try:
        with quiet():
            model = build()
    except Exception as error:  # noqa: BLE001  the user's own code may raise anything
        raise DataError(f"{path}: build() failed ({type(error).__name__}: {error})") from None
    if not isinstance(model, keras.Model):
        raise DataError(f"{path}: build() returned a {type(model).__name__}; it has to return a Keras model")
    return model
