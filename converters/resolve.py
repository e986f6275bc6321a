"""What the network wants to see and what it says: from the description where there is one, else by trying."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import msgspec
import numpy as np
from numpy.typing import NDArray

from converters.compress.samples import prepare
from converters.datasets import FER2013_LABELS, Split
from converters.describe import Description
from converters.loading.model import FloatModel
from converters.proof.evaluate import paired_difference
from edge.emotion.golden import golden_crop
from edge.emotion.manifest import InputSpec, OutputSpec
from edge.emotion.preprocess import to_tensor
from edge.errors import DataError

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]

# The ranges in which networks are trained; the first is assumed where nothing tells.
RANGES = {"[-1, 1]": (127.5, 1 / 127.5), "[0, 1]": (0.0, 1 / 255), "[0, 255]": (0.0, 1.0)}
# Rows to try a preprocessing with; more are taken while it is open which is better. A wrong range costs mini-Xception 12
# points, which 400 rows show; a network trained with varied contrast loses 2, which takes some thousands.
ROWS, FEWEST, SURE = (400, 1600, 6400), 20, 3.0
PROBES = 32


@dataclass(frozen=True, slots=True)
class Resolved:
    """The contract of a network, with where it comes from and what is doubtful about it."""

    input: InputSpec
    output: OutputSpec
    how: str
    warnings: tuple[str, ...]


def resolve_labels(model: FloatModel, labels: Sequence[str] | None) -> tuple[str, ...]:
    """Names for the outputs.

    Raises:
        DataError: there are more or fewer names than outputs, or no names and other than seven outputs.
    """
    if labels is None:
        if model.outputs != len(FER2013_LABELS):
            raise DataError(f"{model.path}: gives {model.outputs} scores; name them in their order: --labels a,b,c")
        return FER2013_LABELS
    if len(labels) != model.outputs:
        raise DataError(f"{model.path}: gives {model.outputs} scores, but {len(labels)} labels are named: {', '.join(labels)}")
    return tuple(labels)


def resolve(model: FloatModel, predict: Predict, given: Description, split: Split | None, seed: int) -> Resolved:
    """Settle input and output.

    Args:
        model: the float network.
        predict: its compiled function.
        given: what flags and sidecar say.
        split: the part to calibrate with; its labels, where it has some, decide what is not given.
        seed: chooses the rows to try with.

    Raises:
        DataError: what is given does not fit the network, or the network gives no finite numbers.
    """
    specs = _specs(model, given)
    fits = {name: _fits(spec, given) for name, spec in specs.items()}
    if split is None or split.labels is None or len(split) < FEWEST:
        name = next(name for name in specs if fits[name])
        warnings = (
            [] if given.mean is not None else [f"nothing tells which input the network expects; {name} is assumed (see --mean)"]
        )
        if model.channels == 3 and given.color is None:
            warnings.append("nothing tells the order of colours that the network expects; rgb is assumed (see --color)")
        how = "given" if given.mean is not None else f"assumed {name}"
    else:
        name, how, warnings = _try_all(specs, fits, predict, split, seed)
    spec = specs[name]
    output, doubt = _output(model, predict, spec, given)
    return Resolved(spec, output, how, (*warnings, *doubt))


def _specs(model: FloatModel, given: Description) -> dict[str, InputSpec]:
    """Every input that is worth a try, by a name for people; the given or most usual one first."""
    height, width = _size(model, given)
    ranges = dict(sorted(RANGES.items(), key=lambda item: item[0] == "[0, 255]", reverse=model.rescales))
    spread: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
        name: ((mean,), (scale,)) for name, (mean, scale) in ranges.items()
    }
    if given.mean is not None and given.scale is not None and not any(_near(given, *pair) for pair in spread.values()):
        text = f"mean {','.join(f'{n:g}' for n in given.mean)} scale {','.join(f'{n:g}' for n in given.scale)}"
        spread = {text: (given.mean, given.scale), **spread}
    elif given.mean is not None and given.scale is not None:
        # 0.0039 for 1/255 names a usual range, but the numbers that go into the manifest are the given ones.
        spread = {name: (given.mean, given.scale) if _near(given, *pair) else pair for name, pair in spread.items()}
    colors: tuple[str, ...] = ("gray",) if model.channels == 1 else ("rgb", "bgr")
    if given.color is not None and given.color not in colors:
        raise DataError(f"{model.path}: takes pictures of {model.channels} channel(s); color {given.color} does not fit")
    specs = {}
    for (name, (mean, scale)), color in product(spread.items(), colors):
        fields = {"color": color, "mean": mean, "scale": scale, "resize": given.resize or "area", "landmarks": given.landmarks}
        shape = {"height": height, "width": width, "channels": model.channels}
        try:
            specs[name if color == "gray" else f"{color} in {name}"] = msgspec.convert(shape | fields, InputSpec)
        except msgspec.ValidationError as error:
            raise DataError(f"{model.path}: {error}") from None
    return specs


def _size(model: FloatModel, given: Description) -> tuple[int, int]:
    height, width = given.shape[:2] if given.shape else (model.height, model.width)
    if height is None or width is None:
        raise DataError(f"{model.path}: takes pictures of any size; say which it was trained with: --shape 48x48")
    if model.height not in (None, height) or model.width not in (None, width):
        raise DataError(f"{model.path}: takes {model.height}x{model.width} pictures, not {height}x{width}")
    return height, width


def _fits(spec: InputSpec, given: Description) -> bool:
    return given.color in (None, spec.color) and (given.mean is None or _near(given, spec.mean, spec.scale))


def _near(given: Description, mean: tuple[float, ...], scale: tuple[float, ...]) -> bool:
    assert given.mean is not None
    assert given.scale is not None
    # 0.0039 for 1/255 is what people write.
    return bool(np.allclose(given.mean, mean, rtol=0.01, atol=0.5) and np.allclose(given.scale, scale, rtol=0.01))


def _try_all(
    specs: dict[str, InputSpec], fits: dict[str, bool], predict: Predict, split: Split, seed: int
) -> tuple[str, str, list[str]]:
    assert split.labels is not None
    order, done = np.random.default_rng(seed).permutation(len(split)), 0
    right = dict.fromkeys(specs, np.empty(0, np.bool_))
    for count in ROWS:
        rows, done = order[done:count], min(count, len(order))
        for name, spec in specs.items():
            hits = predict(to_tensor(prepare(split, rows, spec), spec)).argmax(axis=1) == split.labels[rows]
            right[name] = np.concatenate([right[name], hits])
        accuracy = {name: float(hits.mean()) for name, hits in right.items()}
        best = max((name for name in specs if fits[name]), key=lambda name: accuracy[name])
        if done == len(order) or not any(_open(right[name], right[best]) for name in specs):
            break
    truth = split.labels[order[:done]]
    warnings = []
    rivals = [name for name in specs if not fits[name] and _better(right[name], right[best])]
    if rivals:
        rival = max(rivals, key=lambda name: accuracy[name])
        warnings.append(
            f"data and model disagree: read as {rival} the network is right in {accuracy[rival]:.1%} of {done} rows, "
            f"as given ({best}) in {accuracy[best]:.1%}; check --mean, --scale and --color, and how the pictures were saved"
        )
    commonest = float(np.bincount(truth).max() / len(truth))
    if accuracy[best] <= commonest + 2 * np.sqrt(commonest * (1 - commonest) / len(truth)):
        warnings.append(
            f"data and model disagree: the float network is right in {accuracy[best]:.1%} of {done} rows, no more than "
            f"always naming one class ({commonest:.1%}); check the order of --labels, and --mean and --scale"
        )
    tried = ", ".join(f"{name} {accuracy[name]:.1%}" for name in specs if fits[name] or name in rivals)
    how = f"given ({best})" if sum(fits.values()) == 1 else f"best of {tried} on {done} rows that calibrate"
    return best, how, warnings


def _better(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> bool:
    difference, error = paired_difference(one, other)
    return difference > SURE * error


def _open(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> bool:
    difference, error = paired_difference(one, other)
    return error > 0 and abs(difference) <= SURE * error


def _output(model: FloatModel, predict: Predict, spec: InputSpec, given: Description) -> tuple[OutputSpec, list[str]]:
    crops = np.stack([golden_crop(f"v1:{number}", spec) for number in range(PROBES)])
    values = predict(to_tensor(crops, spec))
    if not np.isfinite(values).all():
        raise DataError(f"{model.path}: gives numbers that are not finite; its weights are damaged or were never trained")
    within = bool(values.min() >= -1e-3 and values.max() <= 1 + 1e-3)
    sums = bool(np.allclose(values.sum(axis=1), 1, atol=1e-2))
    kind = given.output_kind or ("probabilities" if within and sums else "logits")
    output = OutputSpec(kind, given.temperature or 1.0)
    if within and not sums and given.output_kind is None:
        return output, [
            "scores lie in 0..1 but do not sum to 1 (sigmoid?); they are taken for logits, see output_kind in docs/convert.md"
        ]
    return output, []
