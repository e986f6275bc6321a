"""What is wrong at this moment: each problem is told when it begins and when it is over, not in between."""

from __future__ import annotations

from collections.abc import Callable

from edge.delivery.events import Problem

Tell = Callable[[Problem, bool, str], None]


class Problems:
    """The lasting ones, by name.

    Args:
        tell: called with the problem, whether it begins or ends, and one sentence.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._lasting: dict[Problem, str] = {}

    def report(self, problem: Problem, text: str | None) -> bool:
        """Say how it stands.

        Args:
            problem: which.
            text: one sentence while it lasts; None when all is well.

        Returns:
            Whether it has just begun or ended.
        """
        known = self._lasting.get(problem)
        if text is None:
            if known is None:
                return False
            del self._lasting[problem]
            self._tell(problem, False, f"over: {known}")
            return True
        self._lasting[problem] = text
        if known is not None:
            return False
        self._tell(problem, True, text)
        return True

    @property
    def lasting(self) -> tuple[Problem, ...]:
        """Their names, in the order of the alphabet."""
        return tuple(sorted(self._lasting))

    @property
    def texts(self) -> dict[Problem, str]:
        """One sentence each."""
        return dict(self._lasting)
