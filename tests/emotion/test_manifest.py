"""A model that does not fit its manifest is refused before any runtime parses a byte of it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.emotion.classify import DEFAULT_MODEL, open_classifier
from edge.emotion.manifest import manifest_path, read_manifest
from edge.errors import ModelError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The shipped model in a folder of its own."""
    for file in (DEFAULT_MODEL, manifest_path(DEFAULT_MODEL)):
        shutil.copy(file, tmp_path)
    return tmp_path / DEFAULT_MODEL.name


def edit(model: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = manifest_path(model)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def refused(model: Path) -> str:
    with pytest.raises(ModelError) as caught:
        open_classifier(model)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_shipped_model_fits(model: Path) -> None:
    classifier = open_classifier(model)
    assert len({golden.scores.index(max(golden.scores)) for golden in classifier.manifest.golden}) >= 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.int8.tflite", "model.int8.json"),
        ("model.fp16.tflite", "model.fp16.json"),
        ("model.onnx", "model.onnx.json"),
        ("model.qdq.onnx", "model.qdq.json"),
    ],
)
def test_each_artifact_has_a_manifest_of_its_own(name: str, expected: str) -> None:
    assert manifest_path(Path("/x") / name) == Path("/x") / expected


def test_bit_flips_and_truncations_are_refused(model: Path) -> None:
    whole, draw = model.read_bytes(), random.Random(1)
    for _ in range(50):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        model.write_bytes(damaged)
        assert "sha256" in refused(model)
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        model.write_bytes(whole[:length])
        assert "bytes" in refused(model)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda m: m.update(sha256="0" * 64), "sha256"),
        (lambda m: m.update(bytes=1), "bytes"),
        (lambda m: m.update(file="other.tflite"), "other.tflite"),
        (lambda m: m.update(format=2), "format 2"),
        (lambda m: m["labels"].pop(), "labels"),
        (lambda m: m["labels"].append("bored"), "labels"),
        (lambda m: m["labels"].__setitem__(0, m["labels"][1]), "twice"),
        (lambda m: m["input"].update(height=64), "takes"),
        (lambda m: m["input"].update(channels=3), "color"),
        (lambda m: m["input"].update(mean=[1.0, 2.0]), "mean"),
        (lambda m: m["input"].update(mean=[0.0]), "computes other scores"),
        (lambda m: m.update(golden=m["golden"][:2]), "golden"),
        (lambda m: m["golden"][0].update(rule="v9:1"), "v9:1"),
        (lambda m: m["golden"][0].update(scores=m["golden"][1]["scores"]), "computes other scores"),
        (lambda m: m["golden"][0]["scores"].pop(), "golden"),
        (lambda m: m.update(colour="gray"), "colour"),
        (lambda m: m.pop("labels"), "labels"),
        (lambda m: m["output"].update(temperature=0), "temperature"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(model: Path, change: Callable[[dict[str, Any]], object], part: str) -> None:
    edit(model, change)
    assert part in refused(model)


def test_a_missing_manifest_or_model_is_one_sentence(model: Path) -> None:
    content = model.read_bytes()
    model.unlink()
    assert "no such file" in refused(model)
    model.write_bytes(content)
    manifest_path(model).unlink()
    assert "edge-convert writes it" in refused(model)


def test_a_tflite_that_is_none_is_refused_by_the_runtime_in_one_sentence(model: Path) -> None:
    import hashlib

    junk = b"TFL3" * 1000
    model.write_bytes(junk)
    edit(model, lambda m: m.update(bytes=len(junk), sha256=hashlib.sha256(junk).hexdigest()))
    assert "not a TFLite model" in refused(model)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(["format", "labels", "input", "output", "golden", "bytes", "sha256", "file", "recipe"]), value=anything
)
def test_any_value_anywhere_gives_a_manifest_or_one_error(tmp_path: Path, key: str, value: Any) -> None:
    content = json.loads(manifest_path(DEFAULT_MODEL).read_text())
    content[key] = value
    path = tmp_path / "any.json"
    path.write_text(json.dumps(content))
    # Anything but a ModelError would come through here and fail the test.
    with suppress(ModelError):
        read_manifest(path)
