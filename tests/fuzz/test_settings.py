"""Whatever stands in a configuration file or on a command line: settings, or one typed error that shows no secret."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge.cli.example import example_config
from edge.cli.flags import add_flags, given_flags
from edge.config import Settings, keys, read_settings
from edge.errors import ConfigError

SECRET = "hunter2-geheim-Пароль"
KEYS = [(section, key) for section, key, _ in keys()] + [("mqtt", "password"), ("preview", "token"), ("camra", "sorce")]
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.sampled_from([0, 1, 2**63 - 1, -(2**63)]),
    st.floats(),
    st.text(max_size=40),
    st.sampled_from(["auto", "haar", "none", "0", "#", "a/+/b", "[[0,0,1,1]]", "\x00", "rtsp://u:p@h/"]),
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4), max_leaves=8)


def toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value)


def outcome(text: bytes, folder: Path) -> Settings | ConfigError:
    file = folder / "config.toml"
    file.write_bytes(text)
    return settled(lambda: read_settings(file, {}))


def settled(read: Callable[[], Settings]) -> Settings | ConfigError:
    try:
        return read()
    except ConfigError as error:
        told = error
    assert told.problems
    assert all(problem.strip() for problem in told.problems)
    return told


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config")


@given(content=st.binary(max_size=300))
@example(content=b"a = " + b"[" * 100_000)
@example(content=b"[mqtt]\nport = " + b"9" * 5000)
@example(content=b"\xff\xfe")
@example(content=b"[detector]\nregions = [[0, 0, 1, 1], [0.5, 0.5, 0, 1]]")
def test_any_bytes(folder: Path, content: bytes) -> None:
    outcome(content, folder)


@given(chosen=st.lists(st.tuples(st.sampled_from(KEYS), VALUES), max_size=6, unique_by=lambda entry: entry[0]))
def test_known_keys_with_any_value(folder: Path, chosen: list[tuple[tuple[str, str], Any]]) -> None:
    sections: dict[str, list[str]] = {}
    for (section, key), value in chosen:
        sections.setdefault(section, []).append(f"{key} = {toml(value)}")
    text = "\n".join(line for section, lines in sections.items() for line in (f"[{section}]", *lines))
    outcome(text.encode("utf-8", "surrogatepass"), folder)


@given(cut=st.integers(0, 4000), data=st.binary(max_size=8))
def test_a_damaged_example(folder: Path, cut: int, data: bytes) -> None:
    whole = example_config().replace("\n#", "\n").encode()
    outcome(whole[:cut] + data + whole[cut + len(data) :], folder)


@given(chosen=st.lists(st.tuples(st.sampled_from(KEYS), st.text(max_size=30)), max_size=4))
def test_any_flags(chosen: list[tuple[tuple[str, str], str]]) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    add_flags(parser)
    known = {(section, key) for section, key, _ in keys()} | {("mqtt", "password"), ("preview", "token")}
    argv = [f"--{section}-{key.replace('_', '-')}={value}" for (section, key), value in chosen if (section, key) in known]
    settled(lambda: read_settings(None, given_flags(parser.parse_args(argv))))


@given(where=st.sampled_from([("mqtt", "password"), ("preview", "token")]), quoted=st.booleans(), other=st.sampled_from(KEYS))
def test_a_secret_is_never_shown(folder: Path, where: tuple[str, str], quoted: bool, other: tuple[str, str]) -> None:
    section, key = where
    text = f"[{section}]\n{key} = {json.dumps(SECRET) if quoted else SECRET}\n"
    if other[0] != section:
        text += f"[{other[0]}]\n{other[1]} = []\n"
    told = outcome(text.encode(), folder)
    assert isinstance(told, ConfigError)
    assert SECRET not in str(told)
    assert "hunter2" not in str(told)
