"""Batches whose pictures are made of two: mixup and cutmix, with the targets in the same proportion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from converters.datasets.augment import Augment

Goal = tuple[NDArray[np.float32], NDArray[np.float32]]


def mix(
    views: NDArray[np.float32], goals: list[Goal], settings: Augment, rng: np.random.Generator
) -> tuple[NDArray[np.float32], list[Goal]]:
    """Mix a batch with a shuffled copy of itself, or leave it, as chance and the settings say.

    Args:
        views: float32 (N, H, W).
        goals: for each output its targets (N, ...) and their weights (N,). A picture that weighs nothing, such as one that
            nobody voted on, adds nothing to a target.
        settings: `cutmix` is the chance of a rectangle; what is left of the batches gets mixup every second time.
        rng: the only source of chance.
    """
    if rng.random() < settings.cutmix:
        order = rng.permutation(len(views))
        views, share = _cutmix(views, order, rng)
    elif settings.mixup > 0 and rng.random() < 0.5:
        order = rng.permutation(len(views))
        share = np.float32(rng.beta(settings.mixup, settings.mixup))
        views = share * views + (1 - share) * views[order]
    else:
        return views, goals
    return views, [_mixed(goal, order, share) for goal in goals]


def _mixed(goal: Goal, order: NDArray[np.int64], share: np.float32) -> Goal:
    target, weight = goal
    mine, other = share * weight, (1 - share) * weight[order]
    total = mine + other
    part = (mine / np.maximum(total, 1e-6)).astype(np.float32)[:, None]
    return part * target + (total > 0)[:, None] * (1 - part) * target[order], total


def _cutmix(
    views: NDArray[np.float32], order: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.float32], np.float32]:
    height, width = views.shape[1:]
    side = np.sqrt(1 - rng.random())
    top, left = int(rng.integers(height)), int(rng.integers(width))
    # A box about a random centre, cut at the edges; the share is what is really left.
    y0, y1 = max(0, int(top - side * height / 2)), min(height, int(top + side * height / 2))
    x0, x1 = max(0, int(left - side * width / 2)), min(width, int(left + side * width / 2))
    mixed = views.copy()
    mixed[:, y0:y1, x0:x1] = views[order, y0:y1, x0:x1]
    return mixed, np.float32(1 - (y1 - y0) * (x1 - x0) / (height * width))
