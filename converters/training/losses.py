"""The loss, on logits and in the operations of every Keras backend."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from converters.recipe import Distill, Loss


class LabelLoss(keras.losses.Loss):
    """Focal cross entropy on the target; with a teacher, its softened distribution beside it.

    `y_true` is float32 (N, C): the target. With a teacher it is (N, 2C): the target, then the teacher's probabilities
    at temperature T. `y_pred` is float32 (N, C): logits.

        (1 - w) * sum_c target_c (1 - p_c)^gamma (-log p_c)  +  w * T^2 * KL(teacher || student), both at T

    Hinton et al. 2015 (arXiv:1503.02531, section 2.1) for T^2, Lin et al. 2017 (arXiv:1708.02002) for gamma.
    """

    def __init__(self, loss: Loss, distill: Distill | None) -> None:
        super().__init__(name="label_loss")
        self._gamma, self._distill = loss.gamma, distill

    def call(self, y_true: Any, y_pred: Any) -> Any:
        classes = y_pred.shape[-1]
        log_p = ops.log_softmax(y_pred)
        surprise = -log_p
        if self._gamma:
            # Kept from zero, where the slope of a power below one has no bound.
            surprise *= ops.maximum(1 - ops.exp(log_p), 1e-7) ** self._gamma
        label = ops.sum(y_true[:, :classes] * surprise, axis=-1)
        if self._distill is None:
            return label
        temperature, weight = self._distill.temperature, self._distill.weight
        teacher = y_true[:, classes:]
        student = ops.log_softmax(y_pred / temperature)
        divergence = ops.sum(teacher * (ops.log(ops.maximum(teacher, 1e-8)) - student), axis=-1)
        return (1 - weight) * label + weight * temperature**2 * divergence


def accuracy(y_true: Any, y_pred: Any) -> Any:
    """Share of pictures whose largest logit is the largest part of the target; (N, C) or (N, 2C) against (N, C)."""
    return ops.equal(ops.argmax(y_true[:, : y_pred.shape[-1]], axis=-1), ops.argmax(y_pred, axis=-1))
