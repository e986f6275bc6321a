"""What is asked of a conversion."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from calibration.choose import Method
from converters.compress.samples import SAMPLES
from converters.describe import NOTHING_GIVEN, Description
from converters.load import Loading


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    Attributes:
        source: the Keras file or SavedModel folder.
        formats: keys of `converters.formats.FORMATS`.
        folder: where the artifacts go.
        data: a data set, or None.
        given: what flags say about the model.
        samples: pictures to calibrate with.
        seed: of every choice.
        method: how the ranges of INT8 are chosen; None is the best for the pictures, see `Calibration.method`.
        ranges: files of ranges of earlier conversions, used instead of observing.
        keep_float: how many layers may stay in float should INT8 not pass the gate.
        prune: share of the channels to take away before; 0 takes none.
        finetune: epochs of learning from the network before it was pruned.
        max_drop, min_agreement: the gate: points, fraction.
        force: replace files that are there.
        thumbnails: whether the page shows pictures that were calibrated with.
        loading: see `converters.load.load_model`.
        command: for the report.
    """

    source: Path
    formats: tuple[str, ...]
    folder: Path
    data: Path | None = None
    given: Description = NOTHING_GIVEN
    samples: int = SAMPLES
    seed: int = 0
    method: Method | None = None
    ranges: tuple[Path, ...] = ()
    keep_float: int = 0
    prune: float = 0.0
    finetune: int = 0
    max_drop: float = 1.0
    min_agreement: float = 0.95
    force: bool = False
    thumbnails: bool = False
    loading: Loading = field(default_factory=Loading)
    command: str = ""
