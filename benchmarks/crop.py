"""Is the crop right? FER2013 faces on a canvas, through detector and crop, against the same faces fed in directly.

    python benchmarks/crop.py --data fer2013.npz --detector haar yunet --weights yunet.onnx [--model model.int8.tflite]

Every PublicTest picture is enlarged four to six times (cubic) and laid on a 640x480 canvas of its own mean grey, at a
size and place drawn by a seed. A face counts as found when the detector gives anything, and its largest square is
taken: no knowledge of the true place enters. Accuracies are over the same faces, those found: `direct` the picture itself
in one crop, `one view` the detector's square, `two views` the average that edge-run takes (`[model] views`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.config import DetectorSettings
from edge.emotion.manifest import InputSpec
from edge.emotion.preprocess import to_pixels
from edge.faces import FaceDetector, open_detector
from edge.faces.crop import views

WIDTH, HEIGHT, SMALLEST, LARGEST = 640, 480, 4.0, 6.0
MODELS = Path(__file__).resolve().parent.parent / "edge" / "models"

# Pictures as the network takes them, uint8 (H, W, C) each -> probabilities (N, classes).
Predict = Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.float32]]


class Result(NamedTuple):
    """Accuracies are fractions of 1, over the found faces alone; x, y and side are medians of the square, in 48ths."""

    detector: str
    model: str
    faces: int
    found: float
    direct: float
    one_view: float
    two_views: float
    x: float
    y: float
    side: float
    more_than_one: int
    milliseconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an .npz with public_images and public_labels")
    parser.add_argument("--model", type=Path, nargs="+", help=".tflite with its manifest, or a FER2013 Keras file ([-1, 1])")
    parser.add_argument("--detector", nargs="+", choices=["haar", "yunet"], default=["haar", "yunet"])
    parser.add_argument("--weights", help="YuNet's .onnx, where edge-fetch has not put it")
    parser.add_argument("--seed", type=int, default=7, help="draws size and place of every picture")
    parser.add_argument("--limit", type=int, help="only so many faces, drawn by the seed")
    parser.add_argument("--json", action="store_true", help="for machines")
    arguments = parser.parse_args()
    with np.load(arguments.data) as arrays:
        images, labels = arrays["public_images"], arrays["public_labels"].astype(np.int64)
    chosen = np.arange(len(images))
    if arguments.limit:
        chosen = np.sort(np.random.default_rng(arguments.seed).permutation(chosen)[: arguments.limit])
    models = [(path.name, *open_model(path)) for path in arguments.model or sorted(MODELS.glob("*.tflite"))]
    for kind in arguments.detector:
        detector = open_detector(DetectorSettings(kind=kind, weights=arguments.weights if kind == "yunet" else None), live=False)
        for result in measure(images, labels, chosen, arguments.seed, detector, models):
            if arguments.json:
                print(json.dumps(result._asdict()))
            else:
                print(
                    f"{result.detector}, {result.model}: {result.found:.1%} of {result.faces} found; direct {result.direct:.2%}, "
                    f"one view {result.one_view:.2%} ({100 * (result.one_view - result.direct):+.2f} points), "
                    f"two views {result.two_views:.2%} ({100 * (result.two_views - result.direct):+.2f} points); "
                    f"median square {result.x:.1f} {result.y:.1f} side {result.side:.1f} (true: 24 24 48); "
                    f"{result.more_than_one} with more than one face; {result.milliseconds:.1f} ms a detection"
                )
            sys.stdout.flush()
    return 0


def place(image: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], tuple[int, int, int]]:
    """uint8 (48, 48) gray -> uint8 (480, 640, 3) with the picture somewhere on its own mean grey; and its x, y, side."""
    side = round(image.shape[0] * rng.uniform(SMALLEST, LARGEST))
    canvas = np.full((HEIGHT, WIDTH), round(float(image.mean())), np.uint8)
    x, y = (int(rng.integers(0, room + 1)) for room in (WIDTH - side, HEIGHT - side))
    canvas[y : y + side, x : x + side] = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.cvtColor(canvas, cv2.COLOR_GRAY2BGR), np.uint8), (x, y, side)


def measure(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    chosen: NDArray[np.int64],
    seed: int,
    detector: FaceDetector,
    models: Sequence[tuple[str, InputSpec, Predict]],
) -> list[Result]:
    """One detector, all models: each picture's canvas depends on the seed and its own number alone."""
    crops, found, squares, several, spent = [], [], [], 0, 0.0
    for index in chosen:
        canvas, (left, top, true) = place(images[index], np.random.default_rng((seed, int(index))))
        start = time.perf_counter()
        faces = detector.detect(canvas)
        spent += time.perf_counter() - start
        if faces:
            face = faces[0]
            found.append(index)
            crops.append([*views(canvas, face, 1), *views(canvas, face, 2)])
            squares.append(((face.x - left) * 48 / true, (face.y - top) * 48 / true, face.side * 48 / true))
            several += len(faces) > 1
    truth, (x, y, side) = labels[found], (float(value) for value in np.median(squares, axis=0))
    results = []
    for name, spec, predict in models:
        whole, one, tighter, looser = (
            predict([to_pixels(picture, spec) for picture in pictures]) for pictures in (images[found], *zip(*crops, strict=True))
        )
        direct, one_view, two_views = (float((answer.argmax(1) == truth).mean()) for answer in (whole, one, tighter + looser))
        share, each = len(found) / len(chosen), 1000 * spent / len(chosen)
        results.append(Result(detector.name, name, len(chosen), share, direct, one_view, two_views, x, y, side, several, each))
    return results


def open_model(path: Path) -> tuple[InputSpec, Predict]:
    """A shipped model by its manifest, or a Keras file on [-1, 1] gray pictures."""
    if path.suffix == ".tflite":
        from edge.emotion.classify import open_classifier

        classifier = open_classifier(path)
        return classifier.manifest.input, lambda batch: np.stack([classifier.scores(pixels) for pixels in batch])
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    model = keras.models.load_model(path, compile=False)
    _, height, width, channels = model.input_shape
    spec = InputSpec(height, width, channels, "gray", (127.5,), (1 / 127.5,))
    return spec, lambda batch: np.asarray(
        model.predict(np.stack(batch).astype(np.float32) / 127.5 - 1, batch_size=256, verbose=0)
    )


if __name__ == "__main__":
    raise SystemExit(main())
