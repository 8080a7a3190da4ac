"""What a manifest keeps of an evaluation: read for publication, for the gate and for the card.

The summary is :func:`glioserve_evaluation.reports.report.summary_for_manifest`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Counting = Literal["metrics", "every_study"]
"""Of the studies that were answered; or of all, where one that failed or abstained counts as wrong (rates alone)."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95% interval, where it has one."""

    value: float
    lower: float | None = None
    upper: float | None = None

    @property
    def interval(self) -> str:
        """``0.40 to 0.96``; empty where there is none."""
        return "" if self.lower is None or self.upper is None else f"{self.lower:.3f} to {self.upper:.3f}"

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.interval})" if self.interval else f"{self.value:.3f}"


def estimate(evaluation: dict[str, Any], name: str, counting: Counting = "metrics") -> Estimate | None:
    """A figure of a manifest's evaluation; None where it is not there or undefined (no case of a class)."""
    figure = evaluation.get(counting, {}).get(name)
    if not isinstance(figure, dict) or not isinstance(figure.get("value"), (int, float)):
        return None
    return Estimate(float(figure["value"]), figure.get("lower"), figure.get("upper"))


def number_of_cases(evaluation: dict[str, Any]) -> int:
    """Studies that were answered with a label."""
    return int(evaluation.get("cases", 0))


def evaluation_rows(evaluation: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(name, value, interval) for people."""
    yield "Studies", str(evaluation.get("studies", "")), ""
    for name in ("failed", "abstained"):
        yield f"Of these {name}", str(evaluation.get(name, "")), ""
    yield from _figures(evaluation, "metrics", "")
    yield from _figures(evaluation, "every_study", ", failures and abstentions wrong")


def _figures(evaluation: dict[str, Any], counting: Counting, note: str) -> Iterator[tuple[str, str, str]]:
    for name in evaluation.get(counting, {}):
        found = estimate(evaluation, name, counting)
        if found is not None:
            title = "AUC" if name == "auc" else name.replace("_", " ").capitalize()
            counts = evaluation[counting][name]
            of = f" ({counts['successes']} of {counts['n']})" if {"successes", "n"} <= counts.keys() else ""
            yield f"{title}{note}", f"{found.value:.3f}{of}", found.interval
