"""The model on perturbed pictures, through edge's own classifier: how much of its accuracy survives a camera.

    python benchmarks/robust.py [MODEL.tflite] --data fer2013.csv

PublicTest, single crop. The last column is the loss against the pictures as they are, in points, with its standard
error (paired).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from converters.datasets import open_dataset
from converters.proof.evaluate import paired_difference
from converters.proof.perturb import perturbations
from edge.emotion.classify import DEFAULT_MODEL, open_classifier
from edge.emotion.preprocess import to_pixels

SEED = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=DEFAULT_MODEL)
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    classifier = open_classifier(arguments.model)
    data = open_dataset(arguments.data, classifier.manifest.labels).held_out
    pictures, truth = np.asarray(data.images), data.labels
    assert truth is not None

    def right(changed: np.ndarray) -> np.ndarray:
        said = [classifier.scores(to_pixels(picture, classifier.manifest.input)).argmax() for picture in changed]
        return np.asarray(said) == truth

    plain = right(pictures)
    print(f"{classifier.manifest.identity}, {len(pictures):,} pictures, seed {SEED}")
    print(f"{'as they are':28}{plain.mean():8.2%}")
    worst = 0.0
    for name, change in perturbations().items():
        hit = right(change(pictures, np.random.default_rng(SEED)))
        loss, error = paired_difference(plain, hit)
        worst = max(worst, 100 * loss)
        print(f"{name:28}{hit.mean():8.2%}{-100 * loss:+8.2f} ± {100 * error:.2f}")
    print(f"worst drop {worst:.2f} points")


if __name__ == "__main__":
    main()
