"""One contender of benchmarks/pipeline.py, in a process of its own: frames in, one line of JSON out. Not run by hand.

A contender is a function from a frame to squares; everything around it (reading, timing, memory) is the same for all.
Only what a contender needs is imported, so that its memory is its own; `fer` runs in an environment without edge.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# x, y (centre) and side, pixels.
Square = tuple[float, float, float]
# Image, seconds, clip -> squares of the faces that have got an emotion from this very frame.
Step = Callable[[Any, float, int], list[Square]]
# Calls that are not counted: kernels are chosen, caches are filled.
WARM_UP = 5


class Shot(NamedTuple):
    """A decoded frame: uint8 (H, W, 3) BGR, seconds, number of its clip."""

    image: Any
    time: float
    clip: int


def shots(folder: Path) -> Iterator[Shot]:
    """The decoded frames, read one by one so that they do not count as a contender's memory."""
    clips = json.loads((folder / "clips.json").read_text())
    for number, clip in enumerate(clips):
        shape = (clip["height"], clip["width"], 3)
        with (folder / clip["file"]).open("rb") as file:
            for index in range(clip["frames"]):
                image = np.empty(shape, np.uint8)
                file.readinto(image.data)
                yield Shot(image, index / clip["rate"], number)


def ours(job: dict[str, Any], live: bool = False) -> Any:
    """edge's own pipeline without camera and broker."""
    from edge.config import DetectorSettings, Settings
    from edge.delivery import Announcer
    from edge.emotion.classify import open_classifier
    from edge.emotion.open import Models
    from edge.faces import open_detector
    from edge.faces.tracks import Tracker
    from edge.pipeline import Analysis

    every = 0 if live else job["every"]
    weights = job["weights"] if job["kind"] == "yunet" else None
    detector = DetectorSettings(kind=job["kind"], weights=weights, every=every, threads=job["threads"])
    settings = Settings(detector=detector)
    classifier = open_classifier(Path(job["model"]), job["threads"])
    announcer = Announcer(classifier.manifest.labels, classifier.manifest.identity, 10.0, str)
    found = open_detector(detector, live)
    analysis = Analysis(found, Models(classifier, None), Tracker(settings.tracks), announcer, settings, live=live)
    return analysis, found, classifier


def squares(seen: Any) -> list[Square]:
    return [(tracked.face.x, tracked.face.y, tracked.face.side) for tracked, _ in seen.faces if tracked.seen]


def pipeline(job: dict[str, Any]) -> Step:
    from edge.types import Frame

    analysis, *_ = ours(job)
    count = iter(range(sys.maxsize))
    return lambda image, at, clip: squares(analysis.step(Frame(image, next(count), at, at, clip)))


def bare(job: dict[str, Any]) -> Step:
    """The same detector and the same model on the same squares, and nothing else."""
    from edge.faces.crop import views

    _, detector, classifier = ours(job)

    def step(image: Any, _at: float, _clip: int) -> list[Square]:
        found = detector.detect(image)
        for face in found:
            classifier.classify(views(image, face, 2))
        return [(face.x, face.y, face.side) for face in found]

    return step


def tutorial(job: dict[str, Any]) -> Step:
    """The loop that tutorials show: YuNet by OpenCV's DNN over the whole frame, its box cut out, the network by OpenCV too."""
    import cv2

    cv2.setNumThreads(job["threads"])
    detector = cv2.FaceDetectorYN.create(job["weights"], "", (320, 320), 0.7)
    network = cv2.dnn.readNetFromONNX(job["onnx"])
    side, scale, mean = job["side"], job["scale"], job["mean"]

    def step(image: Any, _at: float, _clip: int) -> list[Square]:
        height, width = image.shape[:2]
        detector.setInputSize((width, height))
        found = detector.detect(image)[1]
        kept = []
        for x, y, w, h in [] if found is None else found[:, :4].tolist():
            face = image[max(int(y), 0) : int(y + h), max(int(x), 0) : int(x + w)]
            if face.size:
                gray = cv2.cvtColor(face, cv2.COLOR_BGR2GRAY)
                network.setInput(cv2.dnn.blobFromImage(gray, scale, (side, side), (mean,)))
                network.forward()
                # As edge makes a square of the box: it is not the tutorial's fault that boxes are not squares.
                kept.append((x + w / 2, y + h / 2, 0.95 * h))
        return kept

    return step


def fer(_job: dict[str, Any]) -> Step:
    from fer.fer import FER

    recogniser = FER()

    def step(image: Any, _at: float, _clip: int) -> list[Square]:
        boxes = [found["box"] for found in recogniser.detect_emotions(image)]
        return [(float(x + w / 2), float(y + h / 2), float(w)) for x, y, w, h in boxes]

    return step


def in_turn(step: Step, folder: Path, began: float) -> dict[str, Any]:
    """Every frame, one after the other, as fast as they go."""
    wall, cpu, found, first = [], [], [], None
    for shot in shots(folder):
        before, used = time.perf_counter(), time.process_time()
        found.append(step(*shot))
        cpu.append(time.process_time() - used)
        wall.append(time.perf_counter() - before)
        if first is None and found[-1]:
            first = time.time() - began
    return {"wall": wall[WARM_UP:], "cpu": cpu[WARM_UP:], "latency": wall[WARM_UP:], "found": found, "first": first}


def overhead(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Ours and the bare loop by turns, frame by frame, in one process: what disturbs the machine disturbs both."""
    both, spent = (bare(job), pipeline(job)), ([], [])
    for number, shot in enumerate(shots(folder)):
        for turn in (number % 2, 1 - number % 2):
            used = time.process_time()
            both[turn](*shot)
            spent[turn].append(time.process_time() - used)
    return {"bare": spent[0][WARM_UP:], "ours": spent[1][WARM_UP:]}


def live(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Frames come by the clock, whoever is ready for them; the newest win and the load decides how often to detect."""
    from edge.camera.ring import Ring
    from edge.types import Frame

    analysis, *_ = ours(job, live=True)
    ring = Ring()
    clips = json.loads((folder / "clips.json").read_text())
    periods = [1 / clip["rate"] / job["speed"] for clip in clips]

    def feed() -> None:
        due = time.monotonic()
        try:
            for number, shot in enumerate(shots(folder)):
                due += periods[shot.clip]
                time.sleep(max(0.0, due - time.monotonic()))
                now = time.monotonic()
                ring.push(Frame(shot.image, number, now, now, shot.clip))
        finally:
            ring.close()

    threading.Thread(target=feed, daemon=True).start()
    total = sum(clip["frames"] for clip in clips)
    found: list[list[Square] | None] = [None] * total
    ages, cpu, every, began = [], [], [], time.perf_counter()
    while not ring.ended:
        frame = ring.get(1.0)
        if frame is not None:
            used = time.thread_time()
            seen = analysis.step(frame, len(ring))
            cpu.append(time.thread_time() - used)
            ages.append(time.monotonic() - frame.time)
            every.append(analysis.every)
            found[frame.number] = squares(seen)
    spent = time.perf_counter() - began
    return {
        "wall": [spent / len(cpu)] * len(cpu),
        "cpu": cpu[WARM_UP:],
        "latency": ages[WARM_UP:],
        "found": found,
        "dropped": ring.dropped,
        "every": sum(every) / len(every),
    }


def peak() -> float:
    """Of this process alone, MB: getrusage would count that of the parent until its exec."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    job = json.loads(sys.argv[1])
    folder, began = Path(job["folder"]), job["began"]
    match job["contender"]:
        case "overhead":
            result = overhead(job, folder)
        case "live":
            result = live(job, folder)
        case name:
            step = {"pipeline": pipeline, "bare": bare, "tutorial": tutorial, "fer": fer}[name](job)
            result = in_turn(step, folder, began)
    # Whatever a library prints goes to stdout as well: ours is the last line.
    print("\n" + json.dumps({**result, "peak": peak()}), flush=True)


if __name__ == "__main__":
    main()
