"""Plots as SVG inside a page, of its colours and its letters.

Places along x are shares of the width and there is no viewBox: a plot is as wide as it may be and its letters keep their size,
on a telephone and on a wide screen alike.
"""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from converters.proof.markup import Child, Markup, tag

# Where the axis begins and ends, per cent of the width: a mark at its end has room.
LEFT, RIGHT = 1.5, 98.5
# Pixels: of one row of a plot by rows, of its mark, of the axis below.
ROW, MARK, AXIS = 46, 10, 40
# Pixels for the names of classes; points of a line that are drawn smaller.
ASIDE, MANY = 112, 60
SHAPES = ("circle", "square", "triangle", "diamond", "bar", "ring")
_PATHS = {
    "circle": "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z",
    "square": "M-4 -4h8v8h-8z",
    "triangle": "M0 -5L5 4H-5z",
    "diamond": "M0 -5.5L5.5 0L0 5.5L-5.5 0z",
    "bar": "M-5.5 -1.8h11v3.6h-11z",
    "ring": "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0zM-2 0a2 2 0 1 1 4 0a2 2 0 1 1 -4 0z",
}


class Scale(NamedTuple):
    """From values to places: its ends, where its ticks are, and how many digits tell them apart."""

    low: float
    high: float
    ticks: tuple[float, ...]
    digits: int

    def at(self, value: float) -> float:
        """Per cent of the width."""
        return LEFT + (RIGHT - LEFT) * (value - self.low) / (self.high - self.low)


class Row(NamedTuple):
    """One line of a plot by rows.

    Attributes:
        name: at its left. says, moved: at its right, what it is and what became of it.
        value: where its mark is. before: the float network's, which a line across it shows.
        error: of the value, to both sides.
    """

    name: str
    says: str
    moved: str
    value: float
    before: float
    error: float = 0.0


def scale(values: Iterable[float], zero: bool = True, about: int = 4) -> Scale:
    """An axis for values, with ticks at round figures.

    Args:
        values: that have to be on it, at least one.
        zero: whether it begins at 0, as the length of a bar wants it.
        about: how many steps there should be.
    """
    values = [*values, 0.0] if zero else list(values)
    low, high = min(values), max(values)
    if high <= low:
        low, high = (low, low + 1) if zero else (low - 0.5, low + 0.5)
    rough = (high - low) / about
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(index * step for index in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], ticks, max(0, -math.floor(math.log10(step) + 1e-9)))


def drawing(ident: str, title: str, says: str, height: float, *content: Child, aside: int = 0) -> Markup:
    """A picture with words for who cannot see it.

    Args:
        ident: of its own in the page.
        title, says: what it is, and what it shows.
        height: in pixels.
        content: elements.
        aside: pixels at its left, where x is below 0.
    """
    return tag(
        "svg",
        tag("title", title, id=f"{ident}-title"),
        tag("desc", says, id=f"{ident}-desc"),
        *content,
        id=ident,
        class_="plot",
        role="img",
        aria_labelledby=f"{ident}-title {ident}-desc",
        width="100%",
        height=round(height, 1),
        style=f"padding-left:{aside}px" if aside else None,
    )


def by_rows(
    ident: str, title: str, axis: str, rows: Sequence[Row], of: Scale, limit: float | None = None, bars: bool = True
) -> Markup:
    """One mark for each row, over one axis.

    Args:
        ident, title: see `drawing`.
        axis: what is along it, with its unit.
        rows: from above.
        of: the axis.
        limit: where the gate is, a dashed line.
        bars: from 0 to the value; else a dot at it.
    """
    bottom = ROW * len(rows) + 2
    content: list[Child] = [_ticks(of, bottom, axis)]
    for index, row in enumerate(rows):
        top = index * ROW
        middle = top + 30.0
        content.append(label(row.name, LEFT, top + 16, "name"))
        content.append(label([f"{row.says}  ", tag("tspan", row.moved, class_="quiet")], RIGHT, top + 16, "value", "end"))
        if limit is not None:
            content.append(_line(of.at(limit), of.at(limit), middle - 11, middle + 11, "limit"))
        if bars:
            wide = max(of.at(row.value) - of.at(0), 0.2)
            content.append(tag("rect", x=_share(LEFT), y=middle - MARK / 2, width=_share(wide), height=MARK, rx=2, class_="mark"))
        else:
            ends = (of.at(max(row.value - row.error, of.low)), of.at(min(row.value + row.error, of.high)))
            content += [_line(*ends, middle, middle, "error"), mark("circle", of.at(row.value), middle)]
        content.append(_line(of.at(row.before), of.at(row.before), middle - 9, middle + 9, "before"))
    says = "; ".join(f"{row.name}: {row.says} ({row.moved})" for row in rows)
    return drawing(ident, title, says, bottom + AXIS, content)


def by_classes(ident: str, title: str, axis: str, groups: Sequence[tuple[str, float, Sequence[float]]], says: str) -> Markup:
    """What became of each class: a line where the float network is, and a mark of another shape for each format.

    Args:
        ident, title, axis, says: see `drawing` and `by_rows`.
        groups: class, the float network's share, the formats' shares.
    """
    of = scale([0.0, 1.0], about=5)
    content: list[Child] = []
    top = 0.0
    for name, before, after in groups:
        high = max(14.0 * len(after), 20.0) + 10
        content.append(beside(_shortened(name), top + high / 2 + 4, "name"))
        content.append(_line(0, RIGHT, top + high, top + high, "grid"))
        first = top + high / 2 - 7 * (len(after) - 1)
        for index, value in enumerate(after):
            middle = first + 14 * index
            content.append(_line(of.at(min(before, value)), of.at(max(before, value)), middle, middle, "moved"))
            content.append(mark(SHAPES[index % len(SHAPES)], of.at(value), middle))
        content.append(_line(of.at(before), of.at(before), top + 4, top + high - 4, "before"))
        top += high
    ticks = _ticks(of._replace(digits=0), top, axis, lambda value: f"{100 * value:.0f}")
    return drawing(ident, title, says, top + AXIS, ticks, content, aside=ASIDE)


def in_order(ident: str, title: str, says: str, values: Sequence[float], worst: Sequence[int], hollow: Sequence[int]) -> Markup:
    """Values of things in their order, the worst numbered.

    Args:
        ident, title, says: see `drawing`.
        values: in dB, those that are infinite left at the upper end.
        worst: indices, the worst first. hollow: indices of those that are another kind.
    """
    finite = [value for value in values if math.isfinite(value)]
    of = scale(finite, zero=False)
    across = Scale(0, max(len(values) - 1, 1), (), 0)
    high, lane, above = 150.0, 22.0, 8.0
    places = [
        (across.at(index), above + high * (of.high - min(value, of.high)) / (of.high - of.low))
        for index, value in enumerate(values)
    ]
    content: list[Child] = []
    for tick in of.ticks:
        y = above + high * (of.high - tick) / (of.high - of.low)
        content.append(_line(0, 100, y, y, "grid"))
        content.append(beside(f"{tick:.{of.digits}f} dB".replace("-", "\u2212"), y + 4, "tick"))
    content += [_line(one[0], two[0], one[1], two[1], "path") for one, two in itertools.pairwise(places)]
    floor = above + high + 18
    badges = [(places[index], floor + rank * lane) for rank, index in enumerate(worst)]
    content += [_line(x, x, y, badge, "leader") for (x, y), badge in badges]
    radius, kind = (4, "dot") if len(values) <= MANY else (2.5, "dot small")
    for index, (x, y) in enumerate(places):
        content.append(tag("circle", cx=_share(x), cy=round(y, 1), r=radius, class_=f"{kind} open" if index in hollow else kind))
    for rank, ((x, _), badge) in enumerate(badges, 1):
        content.append(tag("circle", cx=_share(x), cy=badge, r=9, class_="badge"))
        content.append(label(str(rank), x, badge + 4, "badge", "middle"))
    bottom = floor + lane * max(len(worst) - 1, 0) + 16
    content.append(_line(0, 100, bottom, bottom, "axis"))
    content.append(label("first layer", 0, bottom + 16, "tick"))
    content.append(label("last", 100, bottom + 16, "tick", "end"))
    return drawing(ident, title, says, bottom + 22, content, aside=56)


def mark(shape: str, x: float, y: float) -> Markup:
    """A shape of about 10 pixels; an svg of its own, because only that can be moved by a share of the width."""
    return tag(
        "svg", tag("path", d=_PATHS[shape], class_="mark", fill_rule="evenodd"), x=_share(x), y=round(y, 1), overflow="visible"
    )


def key(shape: str) -> Markup:
    """A shape as it stands in a legend; `before` is the float network's line, `limit` that of the gate."""
    line = shape in ("before", "limit")
    inside = tag("path", d="M0 -7V7" if line else _PATHS[shape], class_=shape if line else "mark")
    return tag("svg", inside, viewBox="-8 -8 16 16", width=14, height=14, aria_hidden="true", class_="key")


def label(words: Child, x: float, y: float, kind: str, anchor: str = "start") -> Markup:
    """A line of text at a share of the width."""
    return tag("text", words, x=_share(x), y=round(y, 1), class_=kind, text_anchor=anchor)


def beside(words: str, y: float, kind: str) -> Markup:
    """A line of text that ends where the plot begins: in its padding, which only a plot with `aside` has."""
    return tag("text", words, x=-10, y=round(y, 1), class_=kind, text_anchor="end")


def _ticks(of: Scale, bottom: float, axis: str, say: Callable[[float], str] | None = None) -> list[Child]:
    content: list[Child] = []
    for tick in of.ticks:
        place = of.at(tick)
        anchor = "start" if place < 5 else "end" if place > 95 else "middle"
        words = say(tick) if say else f"{tick:,.{of.digits}f}"
        content += [_line(place, place, 0, bottom, "grid"), label(words, place, bottom + 15, "tick", anchor)]
    content.append(_line(LEFT, RIGHT, bottom, bottom, "axis"))
    content.append(label(axis, LEFT, bottom + 33, "axis"))
    return content


def _line(x1: float, x2: float, y1: float, y2: float, kind: str) -> Markup:
    return tag("line", x1=_share(x1), x2=_share(x2), y1=round(y1, 1), y2=round(y2, 1), class_=kind)


def _shortened(words: str) -> str:
    """What fits into ASIDE; East Asian letters are twice as wide."""
    room, kept = 10, ""
    for letter in words:
        room -= 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if room < 0:
            return f"{kept[:-1]}…"
        kept += letter
    return kept


def _share(value: float) -> str:
    return f"{value:.2f}%"
