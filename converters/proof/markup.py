"""HTML and SVG as strings that cannot be broken by what people call their files and classes."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import TypeAlias

# What XML 1.0 cannot hold, escaped or not (section 2.2): control characters and halves of surrogate pairs.
_UNFIT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_VOID = frozenset({"img", "link", "meta", "wbr"})


class Markup(str):
    """Text that is markup already. Every other string is escaped where it becomes part of one."""

    __slots__ = ()


Child: TypeAlias = "str | Iterable[Child] | None"


def text(value: str) -> Markup:
    """A string for the eye: nothing in it is markup."""
    return Markup(html.escape(_UNFIT.sub("\ufffd", value), quote=True))


def tag(element: str, *children: Child, **attributes: str | float | None) -> Markup:
    """One element, well-formed as HTML and as XML.

    Args:
        element: its name.
        children: strings, which are escaped unless they are Markup, or any nesting of them; None is nothing.
        attributes: `aria_label` is written aria-label, `class_` class; None leaves one out.
    """
    words = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{text(str(value))}"' for name, value in attributes.items() if value is not None
    )
    if element in _VOID:
        return Markup(f"<{element}{words} />")
    return Markup(f"<{element}{words}>{join(children)}</{element}>")


def join(children: Iterable[Child]) -> Markup:
    """Children one after the other."""
    return Markup("".join(_one(child) for child in children))


def _one(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, str):
        return child if isinstance(child, Markup) else text(child)
    return join(child)
