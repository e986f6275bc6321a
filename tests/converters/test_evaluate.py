"""Quality figures and the standard error of a paired difference, by hand-counted cases."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.temperature import fit_temperature
from converters.proof.evaluate import FEWEST_TO_FIT, confidence, evaluate, paired_difference


def test_figures_of_a_small_case_counted_by_hand():
    truth = np.array([0, 0, 0, 0, 1, 1])
    quality = evaluate(np.array([0, 0, 0, 1, 1, 0]), truth, 3)
    assert quality.accuracy == pytest.approx(4 / 6)
    assert quality.recall == (pytest.approx(3 / 4), pytest.approx(1 / 2), None)
    # F1 of class 0: 6 / (4 + 4); of class 1: 2 / (2 + 2); class 2 has no rows and no say.
    assert quality.macro_f1 == pytest.approx((6 / 8 + 2 / 4) / 2)
    # Class 0 was said four times, thrice rightly; class 1 twice, once; class 2 never.
    assert quality.precision == (pytest.approx(3 / 4), pytest.approx(1 / 2), None)
    assert quality.standard_error == pytest.approx(np.sqrt(4 / 6 * 2 / 6 / 6))
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


def _too_sure(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores that say 0.95 where 0.7 is right."""
    truth = np.arange(rows) % 2
    said = np.where(np.arange(rows) % 10 < 7, truth, 1 - truth)
    return np.where(np.eye(2)[said] == 1, 0.95, 0.05).astype(np.float32), truth


def test_confidence_is_fitted_only_where_there_are_rows_enough_and_nobody_chose():
    scores, truth = _too_sure(FEWEST_TO_FIT)
    fitted = confidence(scores, truth, None)
    assert fitted.how == "fitted"
    # 0.95 against 0.05 are logits that differ by log 19; 0.7 against 0.3 by log 7/3.
    assert fitted.temperature == pytest.approx(np.log(19) / np.log(7 / 3), abs=0.002)
    assert fitted.ece_before == pytest.approx(0.25, abs=1e-3)
    assert fitted.ece_after == pytest.approx(0, abs=1e-3)
    assert fitted.nll_after < fitted.nll_before
    few = confidence(*_too_sure(FEWEST_TO_FIT - 10), None)
    learned = confidence(scores, truth, None, fit=False)
    assert [(each.how, each.temperature) for each in (few, learned)] == [("kept", 1.0)] * 2
    assert few.ece_after == few.ece_before
    given = confidence(scores, truth, 2.0)
    assert (given.how, given.temperature) == ("given", 2.0)


def test_a_temperature_that_makes_the_calibration_error_larger_is_declined():
    # Right in 60 % of the rows at a confidence of 0.6, but for a few where it is sure of the wrong class: the likelihood of those
    # asks for a higher temperature than the others can bear.
    scores, truth = _too_sure(FEWEST_TO_FIT)
    said = np.arange(len(truth)) % 100
    scores = np.where(np.eye(2)[np.where(said < 60, truth, 1 - truth)] == 1, 0.6, 0.4)
    scores[said == 99] = np.where(np.eye(2)[1 - truth[said == 99]] == 1, 0.9999, 0.0001)
    assert fit_temperature(scores, truth) > 1.1
    declined = confidence(scores.astype(np.float32), truth, None)
    assert (declined.how, declined.temperature) == ("declined", 1.0)
    assert declined.ece_after == declined.ece_before
    assert declined.nll_after == declined.nll_before
