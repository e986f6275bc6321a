"""Outputs appear whole or not at all, and never over someone's work."""

from __future__ import annotations

from pathlib import Path

import pytest

from converters.formats import FORMATS
from converters.outputs import Outputs, check_outputs, plan, stem_of, write_all
from edge.emotion.manifest import manifest_path
from edge.errors import DataError


def test_names_follow_the_model_and_the_manifest_is_where_edge_looks(tmp_path: Path):
    outputs = plan(stem_of(tmp_path / "net.110-0.65.hdf5"), tmp_path, FORMATS["int8"])
    assert outputs.artifact.name == "net.110-0.65.int8.tflite"
    assert outputs.manifest == manifest_path(outputs.artifact) == tmp_path / "net.110-0.65.int8.json"
    assert len(set(vars_of(outputs))) == 5


def vars_of(outputs: Outputs) -> list[Path]:
    return [outputs.artifact, outputs.manifest, outputs.report, outputs.ranges, outputs.failed]


@pytest.mark.parametrize(
    ("flag", "names"),
    [
        ("onnx-fp32", ["m.onnx", "m.onnx.json", "m.onnx.report.json"]),
        ("onnx-int8", ["m.qdq.onnx", "m.qdq.json", "m.qdq.report.json"]),
        ("fp16", ["m.fp16.tflite", "m.fp16.json", "m.fp16.report.json"]),
    ],
)
def test_each_format_has_names_of_its_own(tmp_path: Path, flag: str, names: list[str]):
    outputs = plan("m", tmp_path, FORMATS[flag])
    assert [path.name for path in vars_of(outputs)[:3]] == names
    assert manifest_path(outputs.artifact) == outputs.manifest


def test_a_pruned_network_has_a_name_of_its_own(tmp_path: Path):
    assert stem_of(tmp_path / "m.keras", 0.3) == "m.pruned30"


@pytest.mark.parametrize("name", ["m.int8.tflite", "m.int8.json", "m.int8.report.json", "m.int8.ranges.json"])
def test_any_file_that_is_there_is_kept_unless_forced(tmp_path: Path, name: str):
    outputs = [plan("m", tmp_path, FORMATS["int8"])]
    (tmp_path / name).write_text("mine")
    with pytest.raises(DataError, match="exists already; add --force"):
        check_outputs(outputs, force=False)
    check_outputs(outputs, force=True)


def test_a_folder_that_cannot_be_written_is_found_out_before(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for folder in (Path("/proc"), tmp_path / "file" / "below"):
        with pytest.raises(DataError, match="cannot be written"):
            check_outputs([plan("m", folder, FORMATS["int8"])], force=False)


def test_checking_leaves_nothing_behind(tmp_path: Path):
    check_outputs([plan("m", tmp_path / "new" / "folder", FORMATS["int8"])], force=False)
    assert list(tmp_path.iterdir()) == []


def test_when_one_file_cannot_be_written_none_is(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="nothing was kept"):
        write_all({tmp_path / "a": b"1", tmp_path / "file" / "b": b"2"})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_files_are_replaced_whole(tmp_path: Path):
    (tmp_path / "a").write_text("old and longer")
    write_all({tmp_path / "a": b"new", tmp_path / "sub" / "b": b"2"})
    assert (tmp_path / "a").read_text() == "new"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "sub"]
