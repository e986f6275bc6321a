"""The loss is what the papers write, computed here a second time in plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from converters.recipe import Distill, Loss


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.fixture
def some() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return (
        rng.normal(0, 2, (16, 7)).astype(np.float32),
        rng.dirichlet(np.ones(7), 16).astype(np.float32),
        rng.normal(0, 3, (16, 7)),
    )


def loss_of(logits: np.ndarray, target: np.ndarray, loss: Loss, distill: Distill | None = None) -> float:
    from converters.quiet import import_tensorflow

    import_tensorflow()
    from converters.training.losses import LabelLoss

    return float(LabelLoss(loss, distill)(target, logits))


def test_without_more_it_is_cross_entropy(some: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    logits, target, _ = some
    expected = -(target * np.log(softmax(logits))).sum(1).mean()
    assert loss_of(logits, target, Loss()) == pytest.approx(expected, rel=1e-5)


def test_focal_loss_weighs_what_is_known_less(some: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    logits, target, _ = some
    p = softmax(logits)
    expected = -(target * (1 - p) ** 2 * np.log(p)).sum(1).mean()
    assert loss_of(logits, target, Loss(gamma=2.0)) == pytest.approx(expected, rel=1e-5)


def test_distillation_is_kl_at_t_times_t_squared_and_cross_entropy(some: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    logits, target, teacher = some
    softened = softmax(teacher / 3).astype(np.float32)
    divergence = (softened * (np.log(softened) - np.log(softmax(logits / 3)))).sum(1).mean()
    expected = 0.3 * -(target * np.log(softmax(logits))).sum(1).mean() + 0.7 * 9 * divergence
    both = np.concatenate([target, softened], axis=1)
    assert loss_of(logits, both, Loss(), Distill(temperature=3.0, weight=0.7)) == pytest.approx(expected, rel=1e-4)


def test_a_student_that_answers_like_its_teacher_has_no_divergence(some: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    logits, target, _ = some
    both = np.concatenate([target, softmax(logits / 4)], axis=1)
    assert loss_of(logits, both, Loss(), Distill(temperature=4.0, weight=1.0)) == pytest.approx(0, abs=1e-4)
