"""Two or more networks side by side on one core: size, latency, and the ratio of each to the first.

    python benchmarks/models.py runs/teacher/best.keras edge/models/mobilenet.int8.tflite --data fer2013.csv

A Keras file is timed as the float32 .tflite that is made of it, an artifact as it is; both by the device's own classifier,
pixels to scores, on one thread. The networks take turns call by call, so that whatever else the machine does meets
them alike; figures are medians of 200 calls.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from converters.compress.samples import prepare
from converters.datasets import open_dataset
from converters.describe import read_sidecar
from converters.proof.compare import latencies
from converters.proof.subject import Subject, open_artifact, open_original, settle
from edge.emotion.classify import SUFFIXES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    data = open_dataset(arguments.data)

    def subject(path: Path) -> Subject:
        if path.suffix in SUFFIXES:
            return open_artifact(path)
        return settle(open_original(path, read_sidecar(path)), data, seed=0)

    subjects = [subject(path) for path in arguments.models]
    timed = [(one.artifact, prepare(data.held_out, np.arange(32), one.input)) for one in subjects if one.artifact is not None]
    if len(timed) != len(subjects):
        raise SystemExit("TFLite cannot take one of these networks, so there is nothing to time")
    times = latencies(timed)
    print(f"{'':40}{'kB':>10}{'MMACs':>8}{'ms':>9}{'size':>9}{'speed':>9}")
    first = subjects[0].network.bytes
    for path, one, time in zip(arguments.models, subjects, times, strict=True):
        size, macs = one.network.bytes, one.network.macs
        assert size is not None
        assert first is not None
        name = f"{path.parent.name}/{path.name} {one.network.quantization}"
        work = f"{macs / 1e6:8.1f}" if macs else f"{'?':>8}"
        print(f"{name:40}{size / 1000:10.1f}{work}{time:9.3f}{first / size:8.1f}x{times[0] / time:8.1f}x")


if __name__ == "__main__":
    main()
