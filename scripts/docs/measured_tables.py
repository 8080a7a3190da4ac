"""The tables of docs/ that show what a benchmark has kept, from ``benchmarks/results``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
Cells = tuple[str, ...]


def night() -> tuple[Cells, list[Cells]]:
    """Return head and rows of the night's table: a row for each alert of each fault."""
    head = ("fault", "alert (its page)", "rings after", "what the page says, done", "over after", "others that rang")
    rows: list[Cells] = []
    for row in _figures("night")["faults"]:
        name, from_start = row["alert"].removeprefix("Glioserve"), row["rang after s"] == 0
        page = f"[{name}]({row['runbook']})" if row["is there"] is True else name
        rang = "from the start" if from_start else _seconds(row["rang after s"])
        others = ", ".join(row["others that rang"].split())
        rows.append((row["fault"], page, rang, row["done"], _seconds(row["over after s"]), others))
    return head, rows


def fleets() -> tuple[Cells, list[Cells]]:
    """Return head and rows of the table of the simulated fleets."""
    head = (
        "classifier", "hospitals", "studies a day", "pods", "cores", "GPUs", "p50 s", "p99 s", "turned away",
        "cost of 1,000 studies", "scaled: mean / most pods", "p99 s", "turned away", "cost of 1,000",
    )  # fmt: skip
    rows: list[Cells] = [
        (
            row["classifier"],
            f"{row['hospitals']:,}",
            f"{row['studies a day']:,}",
            f"{row['pods']}",
            f"{row['cores']:g}",
            f"{row['GPUs']}",
            f"{row['p50 s']:.1f}",
            f"{row['p99 s']:.1f}",
            f"{row['turned away %']:.2f} %",
            f"{row['cost of 1,000']:.2f}",
            f"{row['scaled: mean pods']:.2f} / {row['most']}",
            f"{row['its p99 s']:.1f}",
            f"{row['its turned away %']:.2f} %",
            f"{row['its cost of 1,000']:.2f}",
        )
        for row in _figures("capacity")["fleets"]
    ]
    return head, rows


def answers() -> tuple[Cells, list[Cells]]:
    """Return head and rows of what became of studies whose truth is known, by where they come from."""
    return _counted("studies", _figures("series")["answers"])


def faults() -> tuple[Cells, list[Cells]]:
    """Return head and rows of what became of the synthetic studies, by the faults in them."""
    return _counted("fault", _figures("series")["faults"])


def _counted(what: str, counts: dict[str, dict[str, int]]) -> tuple[Cells, list[Cells]]:
    rows = [(name, f"{sum(found.values()):,}", *(f"{n:,}" for n in found.values())) for name, found in counts.items()]
    return (what, "answers", "right", "refused or sent to review", "wrong"), rows


def _figures(name: str) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["figures"]
    return kept


def _seconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.0f} s"


TABLES = {
    "a night": ("runbooks/index.md", night),
    "fleets": ("capacity.md", fleets),
    "answers": ("inputs.md", answers),
    "faults": ("inputs.md", faults),
}
"""Parts of pages by name: the page, and the function that returns head and rows."""
