"""The INT8 scores of a model for crops that are the same everywhere, as one hash; runs on board and workstation alike."""

import hashlib
import sys
from pathlib import Path

import numpy as np

from edge.emotion.classify import open_classifier
from edge.emotion.golden import golden_crop
from edge.emotion.preprocess import look_up, pixel_table, to_batch


def main(model: str, crop: str) -> None:
    classifier = open_classifier(Path(model))
    spec = classifier.manifest.input
    table = classifier.runtime.encode(pixel_table(spec))
    total = hashlib.sha256()
    for pixels in [np.load(crop), *(golden_crop(f"v1:{number}", spec) for number in range(1, 9))]:
        # As the network says them: steps of one scale, before any arithmetic of floats.
        total.update(classifier.runtime.run(to_batch(look_up(pixels, table), spec))[0].tobytes())
    print(classifier.manifest.identity, total.hexdigest())


if __name__ == "__main__":
    main(*sys.argv[1:])
