"""Bars: a figure, what it must not exceed or fall below, and whether it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from common import print_table


@dataclass(frozen=True)
class Bar:
    """``value`` must be at most ``limit``; at least it where ``at_least``. NaN (not measured) never passes."""

    name: str
    value: float
    limit: float
    unit: str = ""
    at_least: bool = False
    note: str = ""

    @property
    def passed(self) -> bool:
        """True where the bar is met."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def record(self) -> dict[str, Any]:
        """Return it as it is kept in the results."""
        return {**asdict(self), "passed": self.passed}


def print_bars(bars: Sequence[Bar]) -> None:
    """The table with PASS or MISS, and the sum."""
    rows = [
        [
            bar.name,
            bar.value,
            f"{'>=' if bar.at_least else '<='} {bar.limit:.3f}",
            bar.unit,
            "PASS" if bar.passed else "MISS",
            bar.note,
        ]
        for bar in bars
    ]
    print_table("Bars", ["bar", "figure", "limit", "unit", "verdict", "note"], rows)
    print(f"\n{sum(bar.passed for bar in bars)} of {len(bars)} bars met")
