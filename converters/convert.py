"""The whole way from a Keras file to artifacts that are proven: load, prune, calibrate, build, compare, write."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from calibration.ranges import Ranges, from_json, to_json
from converters.build import ONNX, TFLITE, Builder
from converters.case import Case, open_case
from converters.formats import FORMATS
from converters.judge import Judged, judge, open_built
from converters.outputs import Outputs, Page, check_free, check_outputs, plan, plan_page, stem_of, write_all
from converters.progress import Progress
from converters.proof.page import page
from converters.proof.report import Report
from converters.proof.reporting import attempt, make_report
from converters.request import Request
from converters.shrink import Watch, shrink, unwatched
from edge.emotion.classify import Classifier
from edge.errors import DataError

log = logging.getLogger(__name__)


def convert(request: Request, progress: Progress, watch: Watch = unwatched) -> tuple[list[Report], Path]:
    """Convert, prove and write.

    When one format fails its gate, none is written: an exit status speaks for the whole command. What was there before
    stays as it was. The failed report is left, under a name that nothing takes for a model.

    Args:
        request: what is asked for.
        progress: see `Progress`.
        watch: of the epochs of a fine-tuning, see `converters.shrink.shrink`.

    Returns:
        One report per format, and the page about all of them. Artifacts are written when no verdict is `failed`.

    Raises:
        EmotionEdgeError: one sentence about what cannot be used; nothing is written then.
    """
    stem = stem_of(request.source, request.prune)
    outputs = {name: plan(stem, request.folder, FORMATS[name]) for name in request.formats}
    paper = plan_page(stem, list(outputs.values()))
    if request.source.exists():
        check_outputs(list(outputs.values()), request.force)
        check_free([paper.good], request.force)
    given = tuple(_read_ranges(path, request.formats) for path in request.ranges)
    case = open_case(request, progress)
    model, pruned = shrink(case, request.folder / f"{stem}.finetune{request.finetune}", progress, watch)
    reports, files = [], {}
    with Builder(case.model, case.resolved.input, case.calibration, progress) as original:
        plain = original.build(FORMATS["fp32"])
        exact = open_built(case, FORMATS["fp32"], plain, "float32")
    with Builder(model, case.resolved.input, case.calibration, progress, request.method, given) as builder:
        for name in request.formats:
            log.info("converting to %s", name)
            judged, first = _attempts(case, name, builder, exact, outputs[name], progress)
            before = None if first is None else attempt(first)
            reports.append(make_report(case, FORMATS[name], judged, len(plain.content), pruned, before))
            files[name] = _files(outputs[name], judged, reports[-1])
    _write(reports, files, outputs, paper, page(reports, case.calibration.pixels if request.thumbnails else None))
    return reports, paper.failed if any(report.verdict == "failed" for report in reports) else paper.good


def _attempts(
    case: Case, name: str, builder: Builder, exact: Classifier, output: Outputs, progress: Progress
) -> tuple[Judged, Judged | None]:
    """The artifact; and how it did with all layers in INT8, when it did not pass so and layers may stay in float."""
    form = FORMATS[name]

    def once(in_float: Sequence[str]) -> Judged:
        built = builder.build(form, in_float, forced=bool(case.request.keep_float))
        classifier = open_built(case, form, built, output.artifact.name)
        return judge(case, form, built, classifier, exact, output.artifact, progress)

    first = once(())
    if first.comparison.verdict != "failed" or not form.whole or not case.request.keep_float:
        return first, None
    return once(builder.worst(form, case.request.keep_float)), first


def _files(output: Outputs, judged: Judged, report: Report) -> dict[Path, bytes]:
    """What is written for one format, the manifest last: without it nothing takes the artifact for a model."""
    ranges = judged.built.ranges
    return {
        output.artifact: judged.built.content,
        **({} if ranges is None else {output.ranges: to_json(ranges)}),
        output.report: _json(report),
        output.manifest: _json(judged.manifest),
    }


def _write(
    reports: Sequence[Report],
    files: Mapping[str, Mapping[Path, bytes]],
    outputs: Mapping[str, Outputs],
    paper: Page,
    shown: bytes,
) -> None:
    failed = {
        outputs[name].failed: _json(report) for name, report in zip(files, reports, strict=True) if report.verdict == "failed"
    }
    if failed:
        write_all({**failed, paper.failed: shown})
        return
    # The page before the manifests, which come last.
    write_all({paper.good: shown, **{path: content for part in files.values() for path, content in part.items()}})
    for stale in (paper.failed, *(output.failed for output in outputs.values())):
        stale.unlink(missing_ok=True)


def _read_ranges(path: Path, formats: Sequence[str]) -> Ranges:
    try:
        ranges = from_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); --ranges names a .ranges.json of edge-convert") from None
    except ValueError as error:
        raise DataError(f"{path}: {error}; --ranges names a .ranges.json of edge-convert") from None
    flag = {TFLITE: "int8", ONNX: "onnx-int8"}.get(ranges.graph)
    if flag not in formats:
        raise DataError(f"{path}: holds the ranges of {ranges.graph}, which no format that is asked for uses; add --{flag}")
    return ranges


def _json(content: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
