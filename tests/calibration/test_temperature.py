"""The temperature: found where it is known, never above what can be said, and no answer is changed by it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.temperature import (
    COLDEST,
    HOTTEST,
    at_temperature,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from edge.emotion.classify import calibrated
from edge.emotion.manifest import OutputSpec

N, CLASSES = 20_000, 7


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def honest() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits, and labels drawn by the very probabilities that they stand for."""
    rng = np.random.default_rng(5)
    logits = 2 * rng.standard_normal((N, CLASSES))
    draws = rng.random((N, 1))
    return logits, (draws > np.cumsum(_softmax(logits), axis=1)).sum(axis=1).clip(0, CLASSES - 1)


@pytest.mark.parametrize("true", [0.5, 1.0, 1.7, 3.0])
def test_the_temperature_that_spoiled_the_confidence_is_found(honest: tuple[NDArray[np.float64], NDArray[np.int64]], true: float):
    logits, truth = honest
    spoiled = _softmax(logits * true)
    found = fit_temperature(spoiled, truth)
    assert found == pytest.approx(true, rel=0.03)
    mended = at_temperature(spoiled, found)
    assert expected_calibration_error(mended, truth) < 0.012
    assert expected_calibration_error(mended, truth) <= expected_calibration_error(spoiled, truth) + 0.002


def test_no_temperature_on_a_fine_grid_is_likelier(honest: tuple[NDArray[np.float64], NDArray[np.int64]]):
    logits, truth = honest
    spoiled = _softmax(logits * 1.3)
    best = negative_log_likelihood(spoiled, truth, fit_temperature(spoiled, truth))
    assert best <= min(negative_log_likelihood(spoiled, truth, t) for t in np.geomspace(COLDEST, HOTTEST, 300)) + 1e-9


def test_whole_numbers_that_round_the_truth_to_nothing_do_not_decide_alone(honest: tuple[NDArray[np.float64], NDArray[np.int64]]):
    logits, truth = honest
    steps = np.clip(np.rint(_softmax(logits * 1.5) * 256), 0, 255).astype(np.float32) / 256
    zeros = (steps[np.arange(N), truth] == 0).mean()
    assert 0.001 < zeros < 0.1
    with_half_step, without = fit_temperature(steps, truth, 1 / 512), fit_temperature(steps, truth)
    assert abs(with_half_step - 1.5) < abs(without - 1.5)
    errors = [expected_calibration_error(at_temperature(steps, t), truth) for t in (1.0, without, with_half_step)]
    assert errors[2] < errors[1] < errors[0]


def test_the_answers_stay(honest: tuple[NDArray[np.float64], NDArray[np.int64]]):
    probabilities = _softmax(honest[0])
    for temperature in (COLDEST, 0.8, 1.6, HOTTEST):
        assert (at_temperature(probabilities, temperature).argmax(axis=1) == probabilities.argmax(axis=1)).all()


def test_it_is_the_temperature_that_the_device_applies(honest: tuple[NDArray[np.float64], NDArray[np.int64]]):
    steps = np.clip(np.rint(_softmax(honest[0][:200]) * 256), 0, 255).astype(np.float32) / 256
    for temperature in (0.6, 1.0, 1.41, 4.0):
        device = np.stack([calibrated(row, OutputSpec("probabilities", temperature)) for row in steps])
        assert np.abs(at_temperature(steps, temperature) - device).max() < 1e-5


def test_it_stays_within_bounds_where_rows_ask_for_more():
    sure = np.full((50, 3), 0.005, np.float32)
    sure[:, 0] = 0.99
    assert fit_temperature(sure, np.zeros(50, np.int64)) == pytest.approx(COLDEST, rel=1e-5)
    assert fit_temperature(sure, np.ones(50, np.int64)) == pytest.approx(HOTTEST, rel=1e-5)


def test_zeros_ones_and_one_row_are_no_trouble():
    certain = np.eye(3, dtype=np.float32)
    assert np.isfinite(fit_temperature(certain, np.array([0, 1, 0])))
    assert COLDEST <= fit_temperature(certain[:1], np.array([0])) <= HOTTEST
    assert np.isfinite(at_temperature(certain, 0.3)).all()


def test_the_calibration_error_of_a_case_counted_by_hand():
    # Two rows 0.9 sure, one right; two rows 0.6 sure, both right: (2 * |0.5 - 0.9| + 2 * |1 - 0.6|) / 4.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]], np.float32)
    assert expected_calibration_error(probabilities, np.array([0, 1, 1, 1])) == pytest.approx(0.4)
    # In one bin the two errors cancel: accuracy 0.75, confidence 0.75.
    assert expected_calibration_error(probabilities, np.array([0, 1, 1, 1]), bins=1) == pytest.approx(0, abs=1e-6)


def test_a_bin_holds_its_upper_border():
    rows, accuracy, confidence = reliability(np.array([[1.0, 0.0], [0.5, 0.5]], np.float32), np.array([0, 0]), bins=2)
    assert rows.tolist() == [1, 1]
    assert accuracy.tolist() == [1, 1]
    assert confidence.tolist() == [0.5, 1]
