"""Flags that several commands share: what a Keras file does not tell about itself, and what a person watches meanwhile."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from converters.describe import Description
    from converters.load import Loading


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """The keys of `converters.describe.Description` that are given by flag, and how the file is loaded."""
    model = parser.add_argument_group("what the model's file does not tell (else model.toml beside it, else found by trying)")
    model.add_argument("--labels", type=_words, metavar="A,B,C", help="class names in the order of the outputs")
    model.add_argument("--color", choices=("gray", "rgb", "bgr"), help="order of the channels")
    model.add_argument("--mean", type=_numbers, metavar="M", help="x = (pixel - mean) * scale; one number or one per channel")
    model.add_argument("--scale", type=_numbers, metavar="S", help="[-1, 1] is --mean 127.5 --scale 0.00784314")
    model.add_argument("--resize", choices=("area", "linear", "linear_exact", "cubic"), help="interpolation (default area)")
    model.add_argument("--temperature", type=above_zero, metavar="T", help="of the confidence (default: fitted on --data)")
    model.add_argument("--name", help="what events call the model (default: the file's name)")
    model.add_argument("--version", help="and which version of it (default 1.0)")
    add_loading_flags(parser)


def add_loading_flags(parser: argparse.ArgumentParser) -> None:
    """What some files need before they can be loaded at all; see docs/loading.md."""
    file = parser.add_argument_group("how the file is loaded")
    file.add_argument("--shape", type=_shape, metavar="HxW[xC]", help="input of a network that takes any size, such as 48x48")
    file.add_argument("--output", metavar="NAME|N", help="which output holds the scores, by name or number from 0")
    file.add_argument(
        "--architecture",
        type=Path,
        metavar="FILE",
        help="the network of a file of weights: model.to_json()'s .json, a .keras or .h5, a recipe .toml, or a .py with build()",
    )
    trust = parser.add_argument_group("code that would run here")
    trust.add_argument("--allow-lambda", action="store_true", help="build Lambda layers: Python code inside the file")
    trust.add_argument("--custom-objects", type=Path, metavar="FILE.py", help="your file with the model's own layer classes")


def add_gate_flags(parser: argparse.ArgumentParser) -> Any:
    """What one network may lose against another; the group, for a command that has more to add."""
    gate = parser.add_argument_group("the gate")
    gate.add_argument("--max-drop", type=float, default=1.0, metavar="POINTS", help="largest loss of accuracy (default 1.0)")
    gate.add_argument("--min-agreement", type=_share, default=0.95, metavar="SHARE", help="smallest share of same answers (0.95)")
    return gate


def described(arguments: argparse.Namespace) -> Description:
    """What the flags of `add_model_flags` say.

    Raises:
        DataError: they do not fit each other.
    """
    from converters.describe import Description, make_description

    said = {key: value for key in Description.__struct_fields__ if (value := getattr(arguments, key, None)) is not None}
    return make_description(said, "--")


def loading(arguments: argparse.Namespace) -> Loading:
    """What the flags of `add_loading_flags` say beside `described`."""
    from converters.load import Loading

    return Loading(arguments.allow_lambda, arguments.custom_objects, arguments.architecture)


def say_steps(prog: str) -> None:
    """When somebody is watching: say what takes so long."""
    if sys.stderr.isatty():
        logging.basicConfig(format=f"{prog}: %(message)s")
        logging.getLogger("converters").setLevel(logging.INFO)


def show_progress(items: Sequence[Any], what: str) -> Iterable[Any]:
    """A bar on standard error, where somebody watches."""
    from tqdm import tqdm

    # Nothing is drawn for what takes less than two seconds, nor into a file or a pipe.
    return tqdm(items, desc=what, unit="", delay=2.0, leave=False, disable=not sys.stderr.isatty())


def above_zero(text: str) -> float:
    """The type of a flag that takes a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def _words(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty name")
    return words


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number or numbers separated by commas") from None


def _shape(text: str) -> list[int]:
    sides = text.lower().split("x")
    if not (2 <= len(sides) <= 3 and all(side.isdecimal() for side in sides)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape such as 48x48 or 48x48x1 (height, width, channels)")
    return [int(side) for side in sides]


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share between 0 and 1")
    return share
