"""Waits that their caller may end early, on a signal for instance."""

from __future__ import annotations

from collections.abc import Callable

StopCheck = Callable[[], bool]
"""Function that a wait calls again and again; True ends the wait."""


def never() -> bool:
    """Return False: the wait goes on."""
    return False
