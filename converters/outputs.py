"""Files that appear whole or not at all, beside each other, and never over someone's work."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from converters.formats import Format
from edge.emotion.manifest import manifest_path
from edge.errors import DataError


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where one artifact goes: model.int8.tflite, model.int8.json, model.int8.report.json, model.int8.ranges.json.

    `failed` is where the report of a conversion goes that did not pass: nothing takes that for a model.
    """

    artifact: Path
    manifest: Path
    report: Path
    ranges: Path
    failed: Path


class Page(NamedTuple):
    """Where the page about all artifacts of a conversion goes, and where it goes when they did not pass."""

    good: Path
    failed: Path


def stem_of(source: Path, pruned: float = 0.0) -> str:
    """What files made of `source` are called by; a SavedModel is a folder, whose name may hold dots."""
    stem = source.resolve().name if source.is_dir() else source.stem
    return f"{stem}.pruned{100 * pruned:g}" if pruned else stem


def plan(stem: str, folder: Path, form: Format) -> Outputs:
    """Names for an artifact in `folder`; beside model.onnx lie model.onnx.json and model.onnx.report.json."""
    artifact = folder / f"{stem}{'.' + form.tag if form.tag else ''}{form.suffix}"
    manifest = manifest_path(artifact)
    base = manifest.name.removesuffix(".json")
    rest = (folder / f"{base}.{what}.json" for what in ("report", "ranges", "failed.report"))
    return Outputs(artifact, manifest, *rest)


def plan_page(stem: str, outputs: Sequence[Outputs]) -> Page:
    """Names for the page: of one format beside its report, so that formats asked for one by one have a page each."""
    report = outputs[0].report
    base = report.name.removesuffix(".report.json") if len(outputs) == 1 else stem
    return Page(report.with_name(f"{base}.report.html"), report.with_name(f"{base}.failed.report.html"))


def check_outputs(outputs: Sequence[Outputs], force: bool) -> None:
    """Find out before the long work whether its result could be kept.

    Raises:
        DataError: a file is there already and `force` is not given, or the folder cannot be written.
    """
    check_free([path for output in outputs for path in (output.artifact, output.manifest, output.report, output.ranges)], force)


def check_free(paths: Sequence[Path], force: bool) -> None:
    """Find out whether files of one folder could be written.

    Raises:
        DataError: one is there already and `force` is not given, or the folder cannot be written.
    """
    for path in paths:
        if path.is_dir():
            raise DataError(f"{path}: a folder of that name is in the way; remove it or give another place with -o")
        if path.exists() and not force:
            raise DataError(f"{path}: exists already; add --force to replace it, or give another place with -o")
    folder = paths[0].parent
    try:
        # Trying is the only sure test: permission bits say nothing about read-only file systems, nor to root. Where the
        # folder is missing its parents are tried, so that a conversion that fails leaves no empty folder behind.
        existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".edge-convert-"):
            pass
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror}); give another folder with -o") from None


def write_all(files: Mapping[Path, bytes]) -> None:
    """Write files under other names first and rename them when all are whole, in the order given.

    Raises:
        DataError: the folder cannot be written; nothing is left of the files then.
    """
    temporary = {path: path.with_name(f".{path.name}.{os.getpid()}.part") for path in files}
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary[path].open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path in files:
            temporary[path].replace(path)
    except OSError as error:
        raise DataError(f"{next(iter(files)).parent}: cannot be written ({error.strerror}); nothing was kept") from None
    finally:
        for path in temporary.values():
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
