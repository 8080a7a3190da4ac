"""Draw the panels of the chart's dashboards from what a Prometheus has recorded: one picture for each board.

These are pictures by matplotlib of the panels' own queries, titles, units and thresholds. They are not Grafana.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from common import ROOT
from support.prometheus import Prometheus

BOARDS = ROOT / "helm" / "glioserve" / "dashboards"
COLUMNS, POINTS = 4, 240
SCRAPE_S = 1.0
MOST_IN_A_LEGEND = 7
UNITS = {
    "none": ("", 1.0), "short": ("", 1.0), "s": ("s", 1.0), "d": ("days", 1.0), "bytes": ("MiB", 1 / (1 << 20)),
    "percentunit": ("%", 100.0), "lengthmm": ("mm", 1.0), "litre": ("l", 1.0),
}  # fmt: skip
"""Grafana's ids of units: what the axis says, and the factor."""
WHY_EMPTY = {"glioserve_shadow": "no candidate that night", "nv_gpu": "no GPU"}
"""Reasons why panels of these metrics have no data."""
Panel = Mapping[str, Any]


def draw_boards(prometheus: Prometheus, begin_s: float, end_s: float, folder: Path) -> list[Path]:
    """Write ``<board>.png`` for every board; times in Unix seconds. Return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for file in sorted(BOARDS.glob("*.json")):
        board = json.loads(file.read_text(encoding="utf-8"))
        panels = [panel for panel in board["panels"] if panel["type"] != "row"]
        rows = math.ceil(len(panels) / COLUMNS)
        figure, axes = plt.subplots(rows, COLUMNS, figsize=(4.2 * COLUMNS, 2.5 * rows + 0.4), squeeze=False)
        for axis in axes.flat[len(panels) :]:
            axis.set_axis_off()
        for panel, axis in zip(panels, axes.flat, strict=False):
            _draw(panel, axis, series_of(prometheus, panel, begin_s, end_s), begin_s, end_s)
        minutes = (end_s - begin_s) / 60
        figure.suptitle(
            f"{board['title']}: its queries over {minutes:.0f} recorded minutes, drawn by matplotlib, not Grafana"
        )
        figure.tight_layout()
        files.append(folder / f"{file.stem}.png")
        figure.savefig(files[-1], dpi=72, metadata={"Software": None})
        plt.close(figure)
    return files


def series_of(
    prometheus: Prometheus, panel: Panel, begin_s: float, end_s: float
) -> list[tuple[str, list[float], list[float]]]:
    """Return the panel's curves: legend, Unix seconds, values in the panel's unit."""
    step_s = max(SCRAPE_S, (end_s - begin_s) / POINTS)
    curves = []
    for target in panel["targets"]:
        query = filled(target["expr"], end_s - begin_s, step_s)
        for series in prometheus.ask_range(query, begin_s, end_s, step_s):
            times, values = zip(*((float(t), float(v)) for t, v in series["values"]), strict=True)
            curves.append((legend(target["legendFormat"], series["metric"]), list(times), list(values)))
    return curves


def filled(query: str, range_s: float, step_s: float) -> str:
    """Return a query with Grafana's variables replaced, as Grafana does: all namespaces, releases and versions."""
    interval_s = max(step_s + SCRAPE_S, 4 * SCRAPE_S)
    for name, value in (
        ("$__rate_interval", f"{math.ceil(interval_s)}s"),
        ("$__range", f"{math.ceil(range_s)}s"),
        ("$namespace", ".*"),
        ("$release.*", ".*"),
        ("$version", ".*"),
    ):
        query = query.replace(name, value)
    if "$" in query:
        raise ValueError(f"a variable is left in {query}")
    return query


def legend(template: str, labels: Mapping[str, str]) -> str:
    """Return a legend with its labels filled in; ``__auto`` is empty."""
    return "" if template == "__auto" else re.sub(r"\{\{(\w+)\}\}", lambda m: labels.get(m[1], ""), template).strip()


def _draw(
    panel: Panel, axis: Any, curves: Sequence[tuple[str, list[float], list[float]]], begin_s: float, end_s: float
) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    unit, factor = UNITS[defaults["unit"]]
    steps = defaults["thresholds"]["steps"]
    bound = steps[1]["value"] * factor if len(steps) > 1 else None
    red_below = steps[0]["color"] == "red"
    axis.set_title(panel["title"], fontsize=10, loc="left")
    seen = [v * factor for _, _, values in curves for v in values if not math.isnan(v)]
    if not seen:
        query = panel["targets"][0]["expr"]
        why = next((f": {reason}" for metric, reason in WHY_EMPTY.items() if metric in query), "")
        axis.text(0.5, 0.5, f"no data{why}", ha="center", va="center", color="grey", transform=axis.transAxes)
        axis.set_xticks([])
        axis.set_yticks([])
    elif panel["type"] == "stat":
        value = [v for v in curves[0][2] if not math.isnan(v)][-1] * factor
        red = bound is not None and (value < bound if red_below else value >= bound)
        axis.text(
            0.5, 0.5, f"{value:.4g} {unit}", ha="center", va="center", fontsize=26,
            color="tab:red" if red else "tab:green", transform=axis.transAxes,
        )  # fmt: skip
        axis.set_xticks([])
        axis.set_yticks([])
    else:
        for name, times, values in curves:
            minutes = [(t - begin_s) / 60 for t in times]
            axis.plot(minutes, [v * factor for v in values], linewidth=1.1, label=name or None)
        axis.set_ylabel(unit, fontsize=8)
        axis.set_xlabel("minutes", fontsize=7)
        axis.tick_params(labelsize=7)
        axis.yaxis.get_offset_text().set_fontsize(7)
        axis.grid(alpha=0.3)
        axis.set_ylim(min(0.0, *seen), max(*seen, 1e-3) * 1.15)
        if bound is not None and bound <= 2 * max(seen):
            axis.axhline(bound, color="tab:red", linestyle="--", linewidth=1)
        axis.set_xlim(0.0, (end_s - begin_s) / 60)
        _add_legend(axis)
    if bound is not None:
        where = f"red {'below' if red_below else 'from'} {bound:.4g} {unit}".strip()
        axis.set_title(where, fontsize=7, loc="right", color="tab:red")


def _add_legend(axis: Any) -> None:
    """Name the curves, the highest first; of many, those that never left 0 are only counted."""
    handles, labels = axis.get_legend_handles_labels()
    pairs = sorted(zip(handles, labels, strict=True), key=lambda pair: -_highest(pair[0]))
    moving = [pair for pair in pairs if _highest(pair[0]) > 0]
    shown = (pairs if len(pairs) <= MOST_IN_A_LEGEND else moving)[:MOST_IN_A_LEGEND]
    if not shown:
        if pairs:
            axis.text(0.5, 0.5, f"{len(pairs)} curves at 0", ha="center", color="grey", transform=axis.transAxes)
        return
    texts = [label for _, label in shown]
    if len(shown) < len(pairs):
        texts[-1] += f"   (and {len(pairs) - len(shown)} more)"
    axis.legend([handle for handle, _ in shown], texts, fontsize=6.5, loc="best", framealpha=0.6)


def _highest(line: Any) -> float:
    values = [float(v) for v in line.get_ydata() if not math.isnan(float(v))]
    return max(values, default=0.0)
