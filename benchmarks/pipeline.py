"""The whole way from frame to event, beside the bare detector and model, `fer`, and the OpenCV-DNN loop of the tutorials.

    python benchmarks/pipeline.py --media clips/ --weights yunet.onnx

Every contender runs in a process of its own on the same decoded frames, over and over by turns; figures are medians of
the runs. A face counts as matched when a square overlaps that of YuNet, run on every frame, with IoU >= 0.5; a square
that matches none is false. `live` contenders get the frames by the clock, --speed times as fast as they were taken, and
drop what they cannot take; the others take every frame. CPU is that of the frame's work alone, without decoding.

`fer` is installed once, in an environment of its own; it needs 700 MB there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from edge.bench.machine import busy, this_machine
from edge.camera import PICTURES, open_camera
from edge.camera.replay import STILL_RATE
from edge.config import CameraSettings, DetectorSettings
from edge.emotion.classify import DEFAULT_MODEL
from edge.emotion.manifest import manifest_path, read_manifest
from edge.faces import find_weights, open_detector, overlap
from edge.types import Face

HERE = Path(__file__).resolve().parent
VIDEOS = (".mp4", ".avi", ".mkv", ".mov", ".webm")
FER = "fer==25.10.3"
# setuptools 81 has lost pkg_resources, which fer imports; of OpenCV one package, and the one without a display. fer's other
# requirements (torch, moviepy) serve what is not used here, so they cost it nothing.
FER_NEEDS = ("setuptools<81", "opencv-python-headless<5", "tensorflow-cpu", "requests", "pillow")
FER_FOLDER = Path.home() / ".cache" / "emotion-edge" / "benchmark-fer"
MATCHED = 0.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, nargs="+", required=True, help="videos, pictures, or folders of them")
    parser.add_argument("--weights", help="YuNet's .onnx, where edge-fetch has not put it")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="a .tflite or .onnx with its manifest")
    parser.add_argument(
        "--onnx", type=Path, help="a gray network of the model's size for OpenCV; else models/micro.keras is converted"
    )
    parser.add_argument("--runs", type=int, default=5, help="of each contender")
    parser.add_argument(
        "--frames", type=int, default=600, help="at most so many of each clip: they lie decoded in a temporary folder"
    )
    parser.add_argument("--threads", type=int, default=1, help="of detector and model; fer takes what it takes")
    parser.add_argument("--speed", type=float, default=8.0, help="of the live contenders' camera, times the clip's own rate")
    parser.add_argument("--without-fer", action="store_true")
    parser.add_argument("--fer-folder", type=Path, default=FER_FOLDER, help="its environment, made when it is not there")
    parser.add_argument("--json", action="store_true", help="for machines")
    arguments = parser.parse_args()
    weights = find_weights(arguments.weights)
    if weights is None:
        parser.error("YuNet's weights are not on this machine; run edge-fetch yunet, or name a file with --weights")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = decode(gather(arguments.media), folder, arguments.frames)
        truth = detect(folder, weights)
        jobs, left_out = contenders(arguments, folder, weights)
        results = take_turns(jobs, arguments.runs)
    report = summarise(results, truth, clips)
    report["machine"], report["busy"] = str(this_machine()), round(busy(), 2)
    report["runs"], report["left out"] = arguments.runs, left_out
    print(json.dumps(report) if arguments.json else table(report))
    return 0


def gather(media: list[Path]) -> list[Path]:
    found = []
    for path in media:
        found += sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]
    known = [path for path in found if path.suffix.lower() in (*VIDEOS, *PICTURES)]
    if not known:
        raise SystemExit("no video and no picture there")
    return known


def decode(media: list[Path], folder: Path, limit: int) -> list[dict[str, Any]]:
    """Decode once, for all: what a decoder costs belongs to nobody."""
    clips: list[dict[str, Any]] = []
    for number, path in enumerate(media):
        camera = open_camera(CameraSettings(source=str(path), still=3.0))
        times, file = [], folder / f"{number}.raw"
        with file.open("wb") as raw:
            while len(times) < limit and (frame := camera.read()) is not None:
                raw.write(np.ascontiguousarray(frame.image).data)
                times.append(frame.time)
                height, width = frame.image.shape[:2]
        camera.close()
        rate = (len(times) - 1) / times[-1] if times[-1] else STILL_RATE
        clips.append({"name": path.name, "file": file.name, "width": width, "height": height, "rate": rate, "frames": len(times)})
    (folder / "clips.json").write_text(json.dumps(clips))
    return clips


def detect(folder: Path, weights: Path) -> list[list[Face]]:
    """YuNet on every frame."""
    from contenders import shots

    detector = open_detector(DetectorSettings(kind="yunet", weights=str(weights), threads=1))
    return [detector.detect(shot.image) for shot in shots(folder)]


def contenders(arguments: argparse.Namespace, folder: Path, weights: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Name -> what its process is told; and who is left out, with the reason."""
    common = {
        "folder": str(folder),
        "weights": str(weights),
        "model": str(arguments.model),
        "threads": arguments.threads,
        "speed": arguments.speed,
        "python": sys.executable,
        "every": 1,
    }
    jobs: dict[str, dict[str, Any]] = {}
    for kind in ("yunet", "haar"):
        jobs[f"edge, {kind}, k = 1"] = {**common, "contender": "pipeline", "kind": kind}
        jobs[f"edge, {kind}, k = 3"] = {**common, "contender": "pipeline", "kind": kind, "every": 3}
        jobs[f"edge, {kind}, live"] = {**common, "contender": "live", "kind": kind}
        jobs[f"bare loop, {kind}"] = {**common, "contender": "bare", "kind": kind}
        jobs[f"overhead, {kind}"] = {**common, "contender": "overhead", "kind": kind}
    left_out: dict[str, str] = {}
    onnx, problem = arguments.onnx, ""
    if onnx is None:
        onnx, problem = convert(folder)
    if onnx is None:
        left_out["OpenCV-DNN loop"] = problem
    else:
        described = manifest_path(onnx) if manifest_path(onnx).is_file() else manifest_path(arguments.model)
        spec = read_manifest(described).input
        one = {"onnx": str(onnx), "side": spec.height, "scale": spec.scale[0], "mean": spec.mean[0]}
        jobs["OpenCV-DNN loop"] = {**common, **one, "contender": "tutorial"}
    if arguments.without_fer:
        left_out[FER] = "--without-fer"
    else:
        python, problem = fer_python(arguments.fer_folder)
        if problem:
            left_out[FER] = problem
        else:
            jobs[FER] = {**common, "contender": "fer", "python": str(python)}
    return jobs, left_out


def convert(folder: Path) -> tuple[Path | None, str]:
    """The small network that comes with the project, as OpenCV reads it."""
    command = [sys.executable, "-m", "converters.cli.convert", "--onnx-fp32", str(HERE.parent / "models" / "micro.keras")]
    place = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    # Its status is about accuracy, which nobody asks about here.
    done = subprocess.run([*command, "-o", str(folder / "onnx")], check=False, capture_output=True, text=True, env=place)
    made = sorted((folder / "onnx").rglob("*.onnx"))
    return (made[0], "") if made else (None, f"no ONNX network could be made ({last_line(done.stderr)}); name one with --onnx")


def fer_python(folder: Path) -> tuple[Path, str]:
    """The interpreter of fer's own environment, made when it is not there; and why it cannot be, or nothing."""
    python = folder / "bin" / "python"
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    works = [str(python), "-c", "from fer.fer import FER"]
    if python.exists() and subprocess.run(works, check=False, capture_output=True, env=quiet).returncode == 0:
        return python, ""
    print(f"installing {FER} into {folder} …", file=sys.stderr)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    commands = ([sys.executable, "-m", "venv", str(folder)], [*install, *FER_NEEDS], [*install, "--no-deps", FER], works)
    for command in commands:
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=quiet)
        if done.returncode:
            return python, f"it cannot be installed ({last_line(done.stderr)})"
    return python, ""


def take_turns(jobs: dict[str, dict[str, Any]], runs: int) -> dict[str, list[dict[str, Any]]]:
    """Every contender once, then every one again: what disturbs the machine for a while disturbs all."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in jobs}
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1"}
    for run in range(runs):
        for name, job in jobs.items():
            print(f"run {run + 1} of {runs}: {name}", file=sys.stderr)
            command = [job["python"], str(HERE / "contenders.py"), json.dumps({**job, "began": time.time()})]
            place = environment if job["contender"] == "fer" else {**environment, "PYTHONPATH": str(HERE.parent)}
            done = subprocess.run(command, check=False, capture_output=True, text=True, env=place)
            if done.returncode:
                raise SystemExit(f"{name}: {last_line(done.stderr)}")
            results[name].append(json.loads(done.stdout.splitlines()[-1]))
    return results


def summarise(results: dict[str, list[dict[str, Any]]], truth: list[list[Face]], clips: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the runs."""
    rows, overheads = {}, {}
    for name, runs in results.items():
        if "bare" in runs[0]:
            kind = name.split(", ")[1]
            overheads[kind] = median([sum(run["ours"]) / sum(run["bare"]) - 1 for run in runs])
            continue
        scores = [score(run["found"], truth) for run in runs]
        rows[name] = {
            "frames/s": median([1 / statistics.fmean(run["wall"]) for run in runs]),
            "latency ms": [median([1000 * float(np.percentile(run["latency"], q)) for run in runs]) for q in (50, 95, 99)],
            "CPU ms/frame": median([1000 * statistics.fmean(run["cpu"]) for run in runs]),
            "peak MB": median([run["peak"] for run in runs]),
            "first result s": median([run["first"] for run in runs if run.get("first")] or [0.0]),
            "matched": median([matched for matched, _ in scores]),
            "false": median([false for _, false in scores]),
            "dropped": median([run.get("dropped", 0) for run in runs]),
            "every": median([run.get("every", 0) for run in runs]),
        }
    return {
        "clips": [f"{clip['name']} ({clip['frames']} frames, {clip['width']}x{clip['height']})" for clip in clips],
        "faces": sum(map(len, truth)),
        "contenders": rows,
        "overhead": overheads,
    }


def score(found: list[list[list[float]] | None], truth: list[list[Face]]) -> tuple[int, int]:
    """Faces of YuNet that were matched, each square once, the best pairs first; and squares that match none."""
    matched = false = 0
    for squares, faces in zip(found, truth, strict=True):
        boxes = [Face(*square) for square in squares or []]
        pairs = sorted(((overlap(a, b), i, j) for i, a in enumerate(faces) for j, b in enumerate(boxes)), reverse=True)
        taken: set[int] = set()
        known: set[int] = set()
        for common, i, j in pairs:
            if common >= MATCHED and i not in known and j not in taken:
                known.add(i)
                taken.add(j)
        matched += len(known)
        false += len(boxes) - len(taken)
    return matched, false


def table(report: dict[str, Any]) -> str:
    rows = report["contenders"]
    best = rows["edge, yunet, k = 1"]["CPU ms/frame"]
    lines = [
        f"{report['machine']}; {report['busy']:.0%} busy; medians of {report['runs']} runs; {', '.join(report['clips'])}",
        "",
        f"| | frames/s | ms to event p50/95/99 | CPU ms/frame | of edge's | peak MB | matched of {report['faces']} | false |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        p50, p95, p99 = row["latency ms"]
        extra = f" (k = {row['every']:.1f}, {row['dropped']:.0f} dropped)" if row["every"] else ""
        lines.append(
            f"| {name}{extra} | {row['frames/s']:.0f} | {p50:.1f} / {p95:.1f} / {p99:.1f} | {row['CPU ms/frame']:.2f} "
            f"| {row['CPU ms/frame'] / best:.2f} | {row['peak MB']:.0f} | {row['matched']:.0f} | {row['false']:.0f} |"
        )
    lines += [
        "",
        *(
            f"our own code beside detector and model, {kind}: {100 * share:+.1f} % of CPU a frame"
            for kind, share in report["overhead"].items()
        ),
    ]
    lines += [f"{name} is left out: {reason}" for name, reason in report["left out"].items()]
    return "\n".join(lines)


def median(values: list[float]) -> float:
    return float(statistics.median(values))


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"


if __name__ == "__main__":
    raise SystemExit(main())
