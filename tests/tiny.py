"""A task that a tiny network learns in seconds: seven classes of stripes, and the recipe for it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

RECIPE = """
name = "tiny"
seed = 3
[network]
family = "micro"
widths = [8, 8]
blocks = [1, 1]
dropout = 0.0
[schedule]
epochs = 4
batch = 32
ema = 0.9
[loss]
label_smoothing = 0.0
[augment]
flip = 0.0
rotate = 3.0
"""


def write_stripes(path: Path, size: int = 48) -> Path:
    """Seven classes that a network can tell apart: stripes at seven angles, in noise; with votes for the right class."""
    rng = np.random.default_rng(0)

    def part(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        labels = (np.arange(count) % 7).astype(np.uint8)
        angle = (labels * np.pi / 7)[:, None, None]
        rows, columns = np.mgrid[:size, :size]
        wave = np.sin((columns * np.cos(angle) + rows * np.sin(angle)) * 2 * np.pi / 8 + rng.uniform(0, 6, (count, 1, 1)))
        images = np.clip(128 + 60 * wave + rng.normal(0, 30, wave.shape), 0, 255).astype(np.uint8)
        # FER+'s columns begin neutral happiness surprise sadness anger disgust fear.
        votes = np.zeros((count, 10), np.int8)
        votes[np.arange(count), np.array([4, 5, 6, 1, 3, 2, 0])[labels]] = 8
        votes[::5] = -1
        return images, labels, votes

    train, public = part(896), part(140)
    names = ("images", "labels", "votes")
    np.savez(
        path,
        **{f"train_{name}": values for name, values in zip(names, train, strict=True)},
        **{f"public_{name}": values for name, values in zip(names, public, strict=True)},
    )
    return path


def log(run: Path) -> list[dict[str, str]]:
    """The lines of a run's log."""
    with (run / "log.csv").open() as file:
        return list(csv.DictReader(file))
