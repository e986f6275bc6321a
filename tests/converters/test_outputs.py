"""Outputs appear whole or not at all, and never over someone's work."""

from __future__ import annotations

from pathlib import Path

import pytest

from converters.outputs import check_outputs, plan, write_all
from edge.emotion.manifest import manifest_path
from edge.errors import DataError


def test_names_follow_the_model_and_the_manifest_is_where_edge_looks(tmp_path: Path):
    outputs = plan(tmp_path / "net.110-0.65.hdf5", tmp_path, "int8")
    assert outputs.artifact.name == "net.110-0.65.int8.tflite"
    assert outputs.manifest == manifest_path(outputs.artifact) == tmp_path / "net.110-0.65.int8.json"
    assert len({outputs.artifact, outputs.manifest, outputs.report, outputs.failed}) == 4


@pytest.mark.parametrize("name", ["m.int8.tflite", "m.int8.json", "m.int8.report.json"])
def test_any_file_that_is_there_is_kept_unless_forced(tmp_path: Path, name: str):
    outputs = [plan(tmp_path / "m.h5", tmp_path, "int8")]
    (tmp_path / name).write_text("mine")
    with pytest.raises(DataError, match="exists already; add --force"):
        check_outputs(outputs, force=False)
    check_outputs(outputs, force=True)


def test_a_folder_that_cannot_be_written_is_found_out_before(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for folder in (Path("/proc"), tmp_path / "file" / "below"):
        with pytest.raises(DataError, match="cannot be written"):
            check_outputs([plan(tmp_path / "m.h5", folder, "int8")], force=False)


def test_checking_leaves_nothing_behind(tmp_path: Path):
    check_outputs([plan(tmp_path / "m.h5", tmp_path / "new" / "folder", "int8")], force=False)
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
