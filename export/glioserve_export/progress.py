"""Lines that long work reports on its way."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], None]
"""Receives one line for each step."""


def quiet(_: str) -> None:
    """Drop the line."""
