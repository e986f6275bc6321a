"""Pictures of figures: a confusion matrix with a reliability diagram beside it. Drawn without a screen and without pyplot."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.temperature import BINS, reliability
from edge.errors import RuntimeMissingError

if TYPE_CHECKING:
    from converters.proof.evaluate import Confidence

# 1350 pixels wide: sharp where a page shows it at 900.
WIDTH, HEIGHT, DPI = 9.0, 5.4, 150
INK, PALE, ACCENT, GAP = "#1f2933", "#8a94a0", "#2b6cb0", "#e07a3f"


def figure(width: float, height: float) -> Any:
    """An empty figure, in inches, that needs no screen.

    Raises:
        RuntimeMissingError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeMissingError(f"pictures need matplotlib: pip install 'emotion-edge[convert]' ({error})") from None
    drawn = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(drawn)
    return drawn


def png(drawn: Any) -> bytes:
    """A figure as the content of a .png file."""
    content = io.BytesIO()
    # The same figures make the same bytes, whatever version of matplotlib draws them.
    drawn.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def confusion_chart(
    confusion: Sequence[Sequence[int]],
    labels: Sequence[str],
    titles: tuple[str, str],
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    truth: NDArray[np.int64],
    sure: Confidence,
) -> bytes:
    """Confusion matrix and reliability diagram.

    Args:
        confusion: rows of each true class that were taken for each class.
        labels: of the classes.
        titles: a line in bold and one below it.
        before: float32 (N, classes), probabilities at temperature 1.
        after: the same at the network's temperature.
        truth: int64 (N,).
        sure: their calibration errors.

    Returns:
        The content of a .png file.
    """
    drawn = figure(WIDTH, max(HEIGHT, 1.4 + 0.55 * len(labels)))
    drawn.text(0.02, 0.945, textwrap.shorten(titles[0], 90, placeholder="…"), fontsize=11, fontweight="bold", color=INK)
    drawn.text(0.02, 0.905, titles[1], fontsize=8.5, color=INK)
    grid = drawn.add_gridspec(1, 2, width_ratios=(1.75, 1), left=0.1, right=0.98, top=0.82, bottom=0.12, wspace=0.2)
    _matrix(drawn.add_subplot(grid[0]), np.asarray(confusion), labels)
    _reliability(drawn.add_subplot(grid[1]), before, after, truth, sure)
    return png(drawn)


def _matrix(axes: Any, confusion: NDArray[np.int64], labels: Sequence[str]) -> None:
    rows = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.maximum(rows, 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    size = 8.5 if len(labels) <= 8 else 6
    for (true, said), count in np.ndenumerate(confusion):
        share = shares[true, said]
        color = "white" if share > 0.5 else INK if share >= 0.05 else PALE
        weight = "bold" if true == said else "normal"
        axes.text(
            said, true - 0.13, f"{100 * share:.0f} %", ha="center", va="center", fontsize=size, color=color, fontweight=weight
        )
        axes.text(said, true + 0.25, f"{count:,}", ha="center", va="center", fontsize=size - 2, color=color)
    names = [textwrap.shorten(label, 12, placeholder="…") for label in labels]
    axes.set_xticks(range(len(labels)), names, fontsize=8, color=INK)
    axes.set_yticks(range(len(labels)), names, fontsize=8, color=INK)
    axes.tick_params(length=0)
    axes.set_xlabel("the network says", fontsize=8.5, color=INK)
    axes.set_ylabel("true class", fontsize=8.5, color=INK)
    axes.set_title("Confusion, % of the true class and rows", fontsize=9, color=INK, loc="left")
    # White lines between the cells.
    axes.set_xticks(np.arange(len(labels) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(labels) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)


def _reliability(
    axes: Any, before: NDArray[np.float32], after: NDArray[np.float32], truth: NDArray[np.int64], sure: Confidence
) -> None:
    axes.plot([0, 1], [0, 1], color=PALE, linewidth=1, linestyle=(0, (4, 3)))
    rows, accuracy, confidence = reliability(after, truth)
    filled = rows > 0
    axes.bar(
        (np.arange(BINS) + 0.5)[filled] / BINS,
        accuracy[filled],
        width=0.9 / BINS,
        color=ACCENT,
        alpha=0.3,
        label="accuracy in each bin",
    )
    axes.plot(
        confidence[filled],
        accuracy[filled],
        color=ACCENT,
        marker="o",
        markersize=3,
        linewidth=1.2,
        label=f"temperature {sure.temperature:g}: error {sure.ece_after:.1%}",
    )
    if sure.temperature != 1.0:
        rows, accuracy, confidence = reliability(before, truth)
        filled = rows > 0
        axes.plot(
            confidence[filled],
            accuracy[filled],
            color=GAP,
            marker="o",
            markersize=2,
            linewidth=0.9,
            label=f"temperature 1: error {sure.ece_before:.1%}",
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    ticks = np.linspace(0, 1, 6)
    axes.set_xticks(ticks, [f"{100 * tick:.0f}" for tick in ticks], fontsize=8, color=INK)
    axes.set_yticks(ticks, [f"{100 * tick:.0f}" for tick in ticks], fontsize=8, color=INK)
    axes.set_xlabel("confidence of the first class, %", fontsize=8.5, color=INK)
    axes.set_ylabel("right, %", fontsize=8.5, color=INK)
    axes.set_title("Reliability", fontsize=9, color=INK, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", fontsize=7, frameon=False)
