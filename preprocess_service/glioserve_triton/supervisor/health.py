"""State of a supervised server, as the probes tell it: written by the supervisor's loop, read by any thread."""

from __future__ import annotations

import time
from enum import Enum

LOOP_BOUND_S = 15.0
"""The supervisor's loop is taken for stuck when it has not come round for so long."""


class Phase(str, Enum):
    """Phase of a server's life."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    FAILED = "failed"
    """A part failed and could not be repaired: the process is about to end."""


class Health:
    """Phase and present problems. Assignments are atomic, so readers need no lock."""

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self.started = False
        """True from the first time on that the server was ready."""
        self._problems: dict[str, str] = {}
        self._came_round_s = time.monotonic()

    def came_round(self) -> None:
        """Note that the supervisor's loop is alive."""
        self._came_round_s = time.monotonic()

    def report(self, part: str, problem: str | None) -> bool:
        """Set or clear the problem of a part (a model, ``server``); return whether that is a change."""
        problems = dict(self._problems)
        if problem is None:
            changed = problems.pop(part, None) is not None
        else:
            changed = part not in problems
            problems[part] = problem
        self._problems = problems
        return changed

    def begin_serving(self) -> None:
        """Enter the phase in which the server may be ready."""
        self.phase, self.started = Phase.SERVING, True

    def not_ready_because(self) -> tuple[str, ...]:
        """Return what keeps the server from being ready; empty where it is."""
        if self.phase is not Phase.SERVING:
            return (f"the server is {self.phase.value}",)
        stuck = () if self.is_live() else ("the supervisor's loop is stuck",)
        return (*(f"{part}: {problem}" for part, problem in self._problems.items()), *stuck)

    def is_live(self) -> bool:
        """Return whether this process still does its work; a False asks for its end."""
        return self.phase is not Phase.FAILED and time.monotonic() - self._came_round_s < LOOP_BOUND_S
