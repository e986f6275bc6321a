"""How INT8 fares by what it is calibrated with, how its ranges are chosen, and which layers stay in float.

    python benchmarks/quantization.py MODEL.keras ... --data fer2013.csv [--keep 1,2,4] [--rows 3589]

For each network three tables in one run: agreement with float and accuracy by pictures and method; with the N worst layers
in float; every format. Measured on PublicTest, through edge's own classifier. The tables in docs/quantization.md are its
output.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from calibration.choose import Method
from converters.build import Builder
from converters.case import Case, open_case
from converters.compress.samples import NOISE, REMEMBERED, Calibration, make_up
from converters.formats import FORMATS
from converters.judge import open_built
from converters.loading.model import keras_of
from converters.progress import unseen
from converters.proof.compare import latencies
from converters.request import Request
from edge.errors import DataError

METHODS: tuple[Method, ...] = get_args(Method)


def builder(case: Case, calibration: Calibration, method: Method | None = None) -> Builder:
    return Builder(case.model, case.resolved.input, calibration, unseen, method)


class Meter:
    """Answers of artifacts of one network on the rows to measure on."""

    def __init__(self, case: Case) -> None:
        self._case, self._pixels, self._truth = case, case.measured.pixels, case.measured.truth
        self._reference = case.measured.reference

    def __call__(self, flag: str, made: Builder, in_float: Sequence[str] = ()) -> tuple[float, float, float, int, float]:
        """Agreement, accuracy, largest difference of a probability, bytes, milliseconds."""
        form = FORMATS[flag]
        built = made.build(form, in_float, forced=True)
        classifier = open_built(self._case, form, built, flag)
        scores = np.stack([classifier.scores(picture) for picture in self._pixels])
        said: NDArray[np.int64] = scores.argmax(axis=1)
        return (
            float((said == self._reference.argmax(axis=1)).mean()),
            float((said == self._truth).mean()),
            float(np.abs(scores - self._reference).max()),
            len(built.content),
            latencies([(classifier, self._pixels)])[0],
        )


def pictures(case: Case) -> list[Calibration]:
    """Real ones, what batch normalisation remembers where there is any, noise."""
    spec, network = case.resolved.input, keras_of(case.model)
    made_up = [make_up(network, spec, 256, 0, unseen), make_up(None, spec, 256, 0, unseen)]
    return [case.calibration, *(made_up if made_up[0].kind == REMEMBERED else made_up[1:])]


def report(path: Path, data: Path, keep: Sequence[int], rows: int) -> None:
    """Print the three tables of one network."""
    case = open_case(Request(path, ("int8",), Path(), data), unseen)
    few = case.measured
    assert few.truth is not None
    chosen = np.sort(np.random.default_rng(0).permutation(len(few.pixels))[:rows])
    measured = dataclasses.replace(few, pixels=few.pixels[chosen], truth=few.truth[chosen], reference=few.reference[chosen])
    case, meter = dataclasses.replace(case, measured=measured), Meter(dataclasses.replace(case, measured=measured))
    accuracy = (measured.reference.argmax(axis=1) == measured.truth).mean()
    print(f"\n## {path.name}: float {accuracy:.2%} on {len(chosen):,} rows\n")
    print("| calibrated with | " + " | ".join(METHODS) + " |\n|---|" + "---|" * len(METHODS))
    for calibration in pictures(case):
        cells = []
        for method in METHODS:
            with builder(case, calibration, method) as made:
                agreement, right, *_ = meter("int8", made)
            cells.append(f"{agreement:.2%} / {right:.2%}")
        kind = calibration.kind if calibration.kind != NOISE else "noise"
        print(f"| {len(calibration.pixels)} {kind} | " + " | ".join(cells) + " |", flush=True)
    print("\n| in float | agreement | accuracy | kB | ms | layers |\n|---|---|---|---|---|---|")
    with builder(case, case.calibration) as made:
        for count in (0, *keep):
            worst = made.worst(FORMATS["int8"], count) if count else ()
            agreement, right, _, size, time = meter("int8", made, worst)
            print(
                f"| {count} | {agreement:.2%} | {right:.2%} | {size / 1000:.1f} | {time:.3f} | {', '.join(worst)} |", flush=True
            )
        print("\n| format | agreement | accuracy | largest difference | kB | ms |\n|---|---|---|---|---|---|")
        for flag in FORMATS:
            try:
                agreement, right, difference, size, time = meter(flag, made)
            except DataError as error:
                print(f"| {flag} | refused: {error} |")
                continue
            shown = f"{difference:.4f}" if difference > 1e-3 else f"{difference:.1e}"
            print(f"| {flag} | {agreement:.2%} | {right:.2%} | {shown} | {size / 1000:.1f} | {time:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--keep", type=lambda text: [int(word) for word in text.split(",")], default=[1, 2, 4])
    parser.add_argument("--rows", type=int, default=3589)
    arguments = parser.parse_args()
    for path in arguments.models:
        report(path, arguments.data, arguments.keep, arguments.rows)


if __name__ == "__main__":
    main()
