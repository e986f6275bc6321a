"""Every setting as a flag: `[mqtt] host` is `--mqtt-host`; the usual ones have a short name beside it."""

from __future__ import annotations

import argparse
import inspect
import re
import types
import typing
from typing import Any

import msgspec

from edge.config import SECRETS, Settings, keys
from edge.errors import ConfigError

SHORT = {
    ("camera", "source"): "--source",
    ("detector", "kind"): "--detector",
    ("model", "path"): "--model",
    ("mqtt", "host"): "--host",
    ("mqtt", "port"): "--port",
    ("mqtt", "device"): "--device",
    ("delivery", "drain_timeout"): "--drain-timeout",
    ("preview", "serve"): "--preview",
    ("service", "state_dir"): "--state-dir",
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting, grouped by section, with its type, default and the section's own words."""
    # A secret on a command line is in every process list: it is taken so that it can be refused with what to do instead.
    for section, key in SECRETS:
        parser.add_argument(f"--{section}-{key}", dest=_dest(section, key), help=argparse.SUPPRESS)
    groups = {}
    for section, key, kind in keys():
        struct = type(getattr(Settings(), section))
        if section not in groups:
            groups[section] = parser.add_argument_group(f"[{section}]", (inspect.getdoc(struct) or "").splitlines()[0])
        names = [f"--{section}-{key.replace('_', '-')}"]
        if (section, key) in SHORT:
            names.insert(0, SHORT[section, key])
        default = getattr(getattr(Settings(), section), key)
        if default == ():
            default = None
        text = f"{describe(struct, key)} ({_kind(kind)}{'' if default is None else f', default {_text(default)}'})"
        switch: dict[str, Any] = {"nargs": "?", "const": "true"} if kind is bool else {}
        groups[section].add_argument(*names, dest=_dest(section, key), metavar="X", help=text.replace("%", "%%"), **switch)


def given_flags(arguments: argparse.Namespace) -> dict[tuple[str, str], str]:
    """The settings that were given on the command line, as text.

    Raises:
        ConfigError: a secret was given; its value is not repeated.
    """
    for (section, key), remedy in SECRETS.items():
        if getattr(arguments, _dest(section, key)) is not None:
            raise ConfigError([f"--{section}-{key}: a secret given as a flag can be read by everyone on this machine; {remedy}"])
    given = {(section, key): getattr(arguments, _dest(section, key)) for section, key, _ in keys()}
    return {name: value for name, value in given.items() if value is not None}


def _dest(section: str, key: str) -> str:
    return f"{section}.{key}"


def describe(struct: type, key: str) -> str:
    """What the section's docstring says of a key."""
    found = re.search(rf"^ {{4}}{key}: (.+(?:\n {{8}}.+)*)", inspect.getdoc(struct) or "", re.MULTILINE)
    assert found, f"{struct.__name__}.{key} is not described"
    return " ".join(found[1].split()).rstrip(".")


def _kind(kind: object) -> str:
    if typing.get_origin(kind) is typing.Annotated:
        return _kind(typing.get_args(kind)[0])
    if typing.get_origin(kind) is typing.Literal:
        return "|".join(map(str, typing.get_args(kind)))
    if typing.get_origin(kind) is tuple:
        return "list"
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return _kind(next(part for part in typing.get_args(kind) if part is not type(None)))
    return {str: "text", int: "whole number", float: "number", bool: "true|false"}[typing.cast(type, kind)]


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode() if isinstance(value, bool) else str(value)
