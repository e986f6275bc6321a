"""The gate: each condition fails on its own, and chance alone does not fail it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.proof.compare import Comparison, compare

LABELS = ("a", "b", "c", "d")
LIMITS = (1.0, 0.95)


def _scores(classes: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.eye(len(LABELS), dtype=np.float32)[classes]


def _compare(truth: NDArray[np.int64], changed: dict[int, int], limits: tuple[float, float] = LIMITS) -> Comparison:
    after = truth.copy()
    for row, said in changed.items():
        after[row] = said
    return compare(_scores(truth), _scores(after), truth, LABELS, limits, synthetic=False)


def _failed(comparison: Comparison) -> list[str]:
    return [check.name for check in comparison.checks if not check.passed]


def test_an_equal_artifact_passes():
    comparison = _compare(np.arange(400) % 4, {})
    assert comparison.verdict == "passed"
    assert comparison.agreement == 1.0
    assert comparison.difference == 0.0


def test_a_drop_of_exactly_the_limit_passes_and_one_row_more_fails():
    truth = np.arange(1000) % 4
    assert _failed(_compare(truth, {row: (row + 1) % 4 for row in range(10)})) == []
    comparison = _compare(truth, {row: (row + 1) % 4 for row in range(11)})
    assert _failed(comparison) == ["accuracy drop"]
    assert comparison.verdict == "failed"


def test_answers_that_change_without_loss_fail_on_agreement():
    truth = np.arange(1000) % 4
    reference = truth.copy()
    reference[:30] = (truth[:30] + 1) % 4
    artifact = truth.copy()
    artifact[30:60] = (truth[30:60] + 1) % 4
    comparison = compare(_scores(reference), _scores(artifact), truth, LABELS, LIMITS, synthetic=False)
    assert _failed(comparison) == ["agreement"]


def test_a_rare_class_that_is_lost_fails_though_accuracy_holds():
    truth = np.array([0] * 480 + [1] * 480 + [2] * 20 + [3] * 20)
    comparison = _compare(truth, dict.fromkeys(range(960, 968), 0))
    assert comparison.checks[1].figure == 0.8
    assert _failed(comparison) == ["recall drop of c"]


def test_one_row_of_a_rare_class_is_chance():
    truth = np.array([0] * 480 + [1] * 480 + [2] * 20 + [3] * 20)
    # One of 20 is 5 points, but only one standard error.
    assert _compare(truth, {960: 0}).verdict == "passed"


def test_without_labels_nothing_is_proven():
    scores = _scores(np.arange(400) % 4)
    assert compare(scores, scores, None, LABELS, LIMITS, synthetic=False).verdict == "unproven"


def test_agreement_on_made_up_pictures_counts_only_when_three_classes_are_there():
    narrow = _scores(np.array([0] * 390 + [1] * 8 + [2] * 2))
    comparison = compare(narrow, narrow, None, LABELS, LIMITS, synthetic=True)
    assert comparison.agreement is None
    assert comparison.verdict == "unproven"
    wide = _scores(np.arange(400) % 3)
    assert compare(wide, wide, None, LABELS, LIMITS, synthetic=True).agreement == 1.0


def test_of_two_classes_both_are_enough():
    reference = np.eye(2, dtype=np.float32)[np.arange(400) % 2] * 0.8 + 0.1
    broken = compare(reference, reference[:, ::-1].copy(), None, ("no", "yes"), LIMITS, synthetic=True)
    assert broken.verdict == "failed"
    assert compare(reference, reference, None, ("no", "yes"), LIMITS, synthetic=True).agreement == 1.0


def test_swapped_names_fail_though_both_networks_are_named_alike():
    truth = np.arange(400) % 4
    swapped = truth.copy()
    swapped[truth == 1], swapped[truth == 2] = 2, 1
    comparison = compare(_scores(swapped), _scores(swapped), truth, LABELS, LIMITS, synthetic=False)
    assert comparison.verdict == "failed"
    check = next(check for check in comparison.checks if not check.passed)
    assert check.name == "gain by another order of labels"
    assert check.figure == pytest.approx(50.0)
    assert f"{LABELS[1]} for {LABELS[2]}" in check.note


def test_a_network_that_knows_nothing_is_not_said_to_have_its_names_swapped():
    rng, share = np.random.default_rng(0), np.array([0.2, 0.05, 0.5, 0.25])
    for rows in (35, 105, 1000):
        for guess in (rng.integers(0, 4, rows), np.zeros(rows, np.int64)):
            scores = _scores(guess)
            comparison = compare(scores, scores, rng.choice(4, rows, p=share), LABELS, LIMITS, synthetic=False)
            assert comparison.verdict != "failed"


def test_a_broken_conversion_fails_even_on_made_up_pictures():
    reference = np.arange(400) % 3
    artifact = np.zeros(400, np.int64)
    comparison = compare(_scores(reference), _scores(artifact), None, LABELS, LIMITS, synthetic=True)
    assert comparison.verdict == "failed"
