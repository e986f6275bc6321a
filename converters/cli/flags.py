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


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """The keys of `converters.describe.Description` that are given by flag, and whether code of the file may run."""
    model = parser.add_argument_group("what the model's file does not tell (else model.toml beside it, else found by trying)")
    model.add_argument("--labels", type=_words, metavar="A,B,C", help="class names in the order of the outputs")
    model.add_argument("--color", choices=("gray", "rgb", "bgr"), help="order of the channels")
    model.add_argument("--mean", type=_numbers, metavar="M", help="x = (pixel - mean) * scale; one number or one per channel")
    model.add_argument("--scale", type=_numbers, metavar="S", help="[-1, 1] is --mean 127.5 --scale 0.00784314")
    model.add_argument("--resize", choices=("area", "linear", "linear_exact", "cubic"), help="interpolation (default area)")
    model.add_argument("--size", type=_size, metavar="HxW", help="input of a network that takes any size")
    model.add_argument("--temperature", type=_above_zero, metavar="T", help="of the confidence (default: fitted on --data)")
    model.add_argument("--name", help="what events call the model (default: the file's name)")
    model.add_argument("--version", help="and which version of it (default 1.0)")
    trust = parser.add_argument_group("code that would run here")
    trust.add_argument("--allow-lambda", action="store_true", help="build Lambda layers: Python code inside the file")
    trust.add_argument("--custom", type=Path, metavar="FILE.py", help="your file with the model's own layer classes")


def described(arguments: argparse.Namespace) -> Description:
    """What the flags of `add_model_flags` say.

    Raises:
        DataError: they do not fit each other.
    """
    from converters.describe import Description, make_description

    said = {key: value for key in Description.__struct_fields__ if (value := getattr(arguments, key, None)) is not None}
    return make_description(said, "--")


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


def _size(text: str) -> list[int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and (width or height).isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 48x48 (height, width)")
    return [int(height), int(width or height)]


def _above_zero(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
