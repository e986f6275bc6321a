"""Calibration rows: every stratum has its say, the same seed gives the same rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from calibration.select import appearance_strata, stratified


def test_a_rare_class_is_taken_whole_and_the_rest_is_shared_evenly():
    labels = np.array([0] * 500 + [1] * 5 + [2] * 300)
    chosen = labels[stratified(labels, 105, seed=3)]
    assert np.bincount(chosen).tolist() == [50, 5, 50]


def test_a_seed_decides_the_rows():
    labels = np.arange(1000) % 7
    assert np.array_equal(stratified(labels, 70, 1), stratified(labels, 70, 1))
    assert not np.array_equal(stratified(labels, 70, 1), stratified(labels, 70, 2))


@given(st.lists(st.integers(0, 6), max_size=60), st.integers(0, 80), st.integers(0, 5))
def test_rows_are_distinct_in_range_and_as_many_as_asked(labels: list[int], count: int, seed: int):
    rows = stratified(np.array(labels, np.int64), count, seed)
    assert len(rows) == min(count, len(labels))
    assert len(set(rows.tolist())) == len(rows)
    assert set(rows.tolist()) <= set(range(len(labels)))


def test_without_labels_every_kind_of_light_and_sharpness_is_chosen():
    rng = np.random.default_rng(0)
    level, spread = rng.uniform(60, 190, 800), rng.uniform(5, 40, 800)
    sharp = rng.normal(0, 1, (800, 12, 12))
    blurred = (sharp + np.roll(sharp, 1, 1) + np.roll(sharp, 1, 2) + np.roll(sharp, (1, 1), (1, 2))) / 2
    texture = np.where((np.arange(800) % 2 == 0)[:, None, None], sharp, blurred)
    images = np.clip(level[:, None, None] + spread[:, None, None] * texture, 0, 255).astype(np.uint8)[..., None]
    kinds = appearance_strata(images)
    assert set(kinds.tolist()) == set(range(32))
    assert set(kinds[stratified(kinds, 32, seed=0)].tolist()) == set(range(32))
    # The last digit says which half: nearly all of the blurred ones lie in the first.
    assert (kinds[1::2] % 2 == 0).mean() > 0.95
