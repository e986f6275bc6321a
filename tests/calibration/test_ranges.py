"""Ranges: what a tensor took, which part of it INT8 tells apart, and a file that nobody changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.choose import LEVELS, Method, choose_range
from calibration.noise import SILENT, Noise
from calibration.observe import Histogram
from calibration.ranges import Ranges, from_json, to_json

METHODS: tuple[Method, ...] = ("minmax", "percentile", "entropy", "mse")


def seen(values: np.ndarray) -> Histogram:
    histogram = Histogram()
    histogram.add(values)
    return histogram


def error(values: np.ndarray, ends: tuple[float, float]) -> float:
    """Mean squared error of INT8 with these ends, by the definition."""
    width = (ends[1] - ends[0]) / (LEVELS - 1)
    steps = np.clip(np.rint((values - ends[0]) / width), 0, LEVELS - 1)
    return float(((values - (ends[0] + steps * width)) ** 2).mean())


@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), max_size=20), min_size=1, max_size=8))
def test_portions_do_not_matter_and_nothing_is_lost(portions: list[list[float]]):
    whole, parts = Histogram(), Histogram()
    whole.add(np.array([value for portion in portions for value in portion]))
    for portion in portions:
        parts.add(np.array(portion))
    assert parts.counts.sum() == sum(map(len, portions))
    assert (parts.low, parts.high, parts.reach) == (whole.low, whole.high, whole.reach)
    assert np.array_equal(parts.counts, whole.counts)


def test_a_value_next_to_a_power_of_two_falls_into_the_last_bin():
    edge = np.nextafter(np.float32(1), np.float32(0))
    assert seen(np.array([edge, -edge])).counts.sum() == 2


def test_a_number_that_is_none_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        seen(np.array([1.0, np.nan]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["relu", "both sides", "negative", "constant", "zero"])
def test_a_range_lies_in_what_was_seen_and_holds_zero(method: Method, kind: str):
    rng = np.random.default_rng(1)
    normal = rng.normal(0, 2, 20_000)
    made = {"relu": np.maximum(normal, 0), "both sides": normal - 1, "negative": -np.abs(normal)}
    values = made.get(kind, np.full(100, 3.0 if kind == "constant" else 0.0))
    low, high = choose_range(seen(values), method)
    assert min(values.min(), 0) <= low <= 0 <= high <= max(values.max(), 0)


def test_min_max_keeps_everything_and_a_percentile_drops_the_rarest():
    values = np.concatenate([np.random.default_rng(2).uniform(0, 1, 99_990), np.full(10, 50.0)])
    assert choose_range(seen(values), "minmax") == (0.0, 50.0)
    assert choose_range(seen(values), "percentile", 99.9)[1] == pytest.approx(1.0, abs=0.05)
    assert choose_range(seen(values), "percentile", 100.0)[1] == pytest.approx(50.0, abs=0.02)


def test_mse_is_the_best_of_all_ends():
    rng = np.random.default_rng(3)
    values = rng.standard_t(3, 50_000)
    chosen = choose_range(seen(values), "mse")
    everything = choose_range(seen(values), "minmax")
    assert error(values, chosen) < 0.9 * error(values, everything)
    others = [(low, high) for low in np.linspace(everything[0], -2, 40) for high in np.linspace(2, everything[1], 40)]
    assert error(values, chosen) <= 1.05 * min(error(values, ends) for ends in others)


def test_entropy_clips_an_outlier_and_keeps_a_flat_signal():
    rng = np.random.default_rng(4)
    flat = rng.uniform(0, 1, 50_000)
    assert choose_range(seen(flat), "entropy")[1] > 0.95
    assert choose_range(seen(np.append(flat, 100.0)), "entropy")[1] < 60


def test_noise_is_ten_log_ten_of_the_energies():
    noise = Noise()
    noise.add(np.full(10, 2.0), np.full(10, 2.2))
    noise.add(np.zeros(0), np.zeros(0))
    assert noise.sqnr_db == pytest.approx(20.0)
    assert Noise().sqnr_db is None
    noise = Noise()
    noise.add(np.ones(3), np.ones(3))
    assert noise.sqnr_db == SILENT


RANGES = Ranges("ab" * 32, "tflite", "mse", 256, "cd" * 32, {"conv;1": (-1.5, 2.25), "image": (-1.0, 1.0)})


def test_a_file_of_ranges_gives_them_back(tmp_path: Path):
    assert from_json(to_json(RANGES)) == RANGES
    assert from_json(to_json(RANGES)).digest == RANGES.digest


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text.replace(b"2.25", b"2.26"), "sha256 does not fit"),
        (lambda text: text.replace(b'"format": 1', b'"format": 2'), "format 2, this version reads format 1"),
        (lambda text: text.replace(b'"tensors"', b'"tensor"'), "not a file of ranges"),
        (lambda text: text[:-20], "not a file of ranges"),
        (lambda _: b"\xff", "not a file of ranges"),
        (lambda _: b"[]", "not a file of ranges"),
        (lambda _: to_json(Ranges("", "", "mse", 1, "", {"a": (0.5, 1.0)})), "it has to hold zero"),
    ],
)
def test_a_file_that_is_no_such_file_is_refused(change, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        from_json(change(to_json(RANGES)))
