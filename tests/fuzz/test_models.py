"""Manifests and model files that were damaged or made up: refused with one typed error, before a runtime parses a byte."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge.emotion.classify import DEFAULT_MODEL, Classifier, open_classifier
from edge.emotion.manifest import Manifest, manifest_path, read_manifest, verify_file
from edge.errors import EmotionEdgeError, ModelError

GOOD = json.loads(manifest_path(DEFAULT_MODEL).read_text())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


def paths(node: Any, so_far: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [so_far, *(path for key, value in inner for path in paths(value, (*so_far, key)))]


PATHS = [path for path in paths(GOOD) if path and path[0] not in {"recipe", "metrics"}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    shutil.copy(manifest_path(DEFAULT_MODEL), folder)
    return Path(shutil.copy(DEFAULT_MODEL, folder))


def outcome(model: Path, manifest: bytes) -> Manifest | ModelError:
    manifest_path(model).write_bytes(manifest)
    try:
        return read_manifest(manifest_path(model))
    except ModelError as error:
        return error


@given(content=st.binary(max_size=200))
@example(content=b"[" * 200_000)
@example(content=b'{"recipe": ' * 100_000)
@example(content=b"\xff")
def test_any_bytes_are_no_manifest(model: Path, content: bytes) -> None:
    refused = outcome(model, content)
    assert isinstance(refused, ModelError)
    assert str(refused).startswith(str(manifest_path(model)))


@given(path=st.sampled_from(PATHS), value=JSON)
@example(path=("golden", 2, "scores", 0), value=3.4e38)
@example(path=("output", "temperature"), value=3.5e38)
@example(path=("output", "temperature"), value=1e-46)
@example(path=("input", "scale", 0), value=2.1e34)
def test_a_manifest_with_any_value_anywhere_is_read_or_refused_and_never_loads_another_model(
    model: Path, path: tuple[Any, ...], value: Any
) -> None:
    changed = json.loads(json.dumps(GOOD))
    node = changed
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    if isinstance(outcome(model, json.dumps(changed).encode("utf-8", "surrogatepass")), Manifest):
        try:
            loaded = open_classifier(model)
        except EmotionEdgeError:
            return
        assert isinstance(loaded, Classifier)
        assert loaded.manifest.sha256 == GOOD["sha256"]


@settings(max_examples=200)
@given(place=st.integers(0, GOOD["bytes"] - 1), bit=st.integers(0, 7), cut=st.booleans())
def test_a_flipped_bit_or_a_cut_is_refused_before_it_is_parsed(model: Path, place: int, bit: int, cut: bool) -> None:
    manifest_path(model).write_text(json.dumps(GOOD))
    content = bytearray(DEFAULT_MODEL.read_bytes())
    if cut:
        del content[place:]
    else:
        content[place] ^= 1 << bit
    model.write_bytes(content)
    try:
        with pytest.raises(ModelError, match=r"bytes, its manifest says|sha256 is"):
            verify_file(read_manifest(manifest_path(model)), model)
    finally:
        shutil.copy(DEFAULT_MODEL, model)
