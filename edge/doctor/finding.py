"""What a check has found: one line, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from edge.errors import EmotionEdgeError

Verdict = Literal["good", "warning", "broken", "skipped"]


class Finding(msgspec.Struct, frozen=True):
    """One line.

    Attributes:
        name: topic and subject, such as `broker.login`; stays the same over versions.
        verdict: `broken` keeps emotion-edge from working, `warning` will or may, `skipped` could not be looked at here.
        text: what was found.
        remedy: what to do; None where nothing is to be done.
    """

    name: str
    verdict: Verdict
    text: str
    remedy: str | None = None


Findings = Iterator[Finding]


def good(name: str, text: str) -> Finding:
    """All is well."""
    return Finding(name, "good", text)


def warning(name: str, text: str, remedy: str) -> Finding:
    """It works, but something will or may go wrong."""
    return Finding(name, "warning", text, remedy)


def broken(name: str, text: str, remedy: str) -> Finding:
    """It cannot work like this."""
    return Finding(name, "broken", text, remedy)


def skipped(name: str, text: str, remedy: str | None = None) -> Finding:
    """Nothing can be said here, or nothing has to be looked at."""
    return Finding(name, "skipped", text, remedy)


def failed(name: str, error: EmotionEdgeError, otherwise: str) -> Finding:
    """Broken, in the words of an error: what happened, and what to do; `otherwise` where it does not say that."""
    what, _, remedy = str(error).partition("; ")
    return broken(name, what, remedy or otherwise)
