"""A fault that strikes a deployment under load, and what callers beside the load may meet meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from chaos.deployment import Deployment

Others = Counter[str]
"""Outcomes of callers beside the load: ``answered``, a token of ours, or any other word."""
ANSWERED = "answered"
Strike = Callable[[Deployment], AbstractContextManager[Others]]
"""Enters when the fault has struck and leaves when it is undone."""


@dataclass(frozen=True)
class Fault:
    """One fault of the table."""

    name: str
    strike: Strike
    lasts_s: float = 0.0
    """Seconds between the two, beside what ``strike`` itself takes."""
    others: frozenset[str] = frozenset()
    """Every outcome that callers beside the load may have; each run must have one of them where any is named."""

    def unexpected(self, others: Others) -> list[str]:
        """Return the outcomes of other callers that should not have been, or what is missing."""
        if self.others and not others:
            return ["no other caller had an outcome"]
        return [word for word in others if word not in self.others]
