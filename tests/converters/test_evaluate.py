"""Quality figures and the standard error of a paired difference, by hand-counted cases."""

from __future__ import annotations

import numpy as np
import pytest

from converters.proof.evaluate import evaluate, paired_difference


def test_figures_of_a_small_case_counted_by_hand():
    truth = np.array([0, 0, 0, 0, 1, 1])
    quality = evaluate(np.array([0, 0, 0, 1, 1, 0]), truth, 3)
    assert quality.accuracy == pytest.approx(4 / 6)
    assert quality.recall == (pytest.approx(3 / 4), pytest.approx(1 / 2), None)
    # F1 of class 0: 6 / (4 + 4); of class 1: 2 / (2 + 2); class 2 has no rows and no say.
    assert quality.macro_f1 == pytest.approx((6 / 8 + 2 / 4) / 2)
    assert quality.confusion.tolist() == [[3, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_the_paired_error_is_that_of_the_differences_themselves():
    rng = np.random.default_rng(1)
    one, other = rng.random(400) < 0.7, rng.random(400) < 0.6
    difference, error = paired_difference(one, other)
    each = one.astype(float) - other.astype(float)
    assert difference == pytest.approx(each.mean())
    assert error == pytest.approx(each.std() / np.sqrt(400))


def test_no_rows_are_no_difference():
    assert paired_difference(np.zeros(0, bool), np.zeros(0, bool)) == (0.0, 0.0)
