"""Panels and queries that the boards are made of; each board is a file beside this one.

``POD`` is the selector of a release's pods by the variables of the boards. Counters are read as increases and averages
divide by what was seen, so that a panel of a quiet night is empty in place of wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

CHART = Path(__file__).resolve().parents[2] / "helm" / "glioserve"
POD = 'namespace=~"$namespace",pod=~"$release.*"'
LIMITS: dict[str, float] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["metrics"][
    "prometheusRule"
]["thresholds"]
MEMORY_SHARE, SHARED_MEMORY_SHARE = 0.9, 0.85
"""Bounds of the rules GlioserveMemoryNearLimit and GlioserveSharedMemoryNearLimit."""
WAITING_RECORD_S = 120
"""Bound of the rule GlioserveStudyLogFailing."""
SLOW_STAGE_S, SLOW_ANSWER_S, QUEUED = LIMITS["stageSeconds"], LIMITS["latencySeconds"], LIMITS["queuedStudies"]
WINDOW = "$__range"
"""Window of figures that a sparse stream of studies needs whole: the time that the board shows."""
QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class Panel:
    """One panel: queries with their legends, a unit, and the value from which on it is red."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    description: str
    red_from: float | None = None
    red_below: float | None = None
    single: bool = False
    """One number in place of a curve."""


@dataclass(frozen=True)
class Board:
    """One dashboard."""

    name: str
    title: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    by_version: bool = False
    """True where a variable chooses the classifier's version."""


def quantiles(metric: str, window: str = "1h") -> tuple[tuple[str, str], ...]:
    """Return the quantiles of a histogram over all pods."""
    series = f"sum by (le) (increase({metric}_bucket{{{POD}}}[{window}]))"
    return tuple((f"histogram_quantile({q}, {series})", f"p{q * 100:g}") for q in QUANTILES)


def mean_by(label: str, metric: str, more: str = "", window: str = "1h") -> tuple[tuple[str, str], ...]:
    """Return the mean of a histogram's values, by a label; nothing where nothing was seen."""
    selector = POD + (f",{more}" if more else "")
    total = f"sum by ({label}) (increase({metric}_sum{{{selector}}}[{window}]))"
    count = f"sum by ({label}) (increase({metric}_count{{{selector}}}[{window}]))"
    return ((f"{total} / ({count} > 0)", f"{{{{{label}}}}}"),)


def grown(metric: str, by: str, more: str = "", window: str = "$__rate_interval") -> tuple[tuple[str, str], ...]:
    """Return how much a counter has grown, by labels."""
    selector = POD + (f",{more}" if more else "")
    legend = " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))
    return ((f"sum by ({by}) (increase({metric}{{{selector}}}[{window}]))", legend),)


def share(part: str, whole: str) -> str:
    """Return the ratio of two sums; nothing where there is nothing to divide by."""
    return f"{part} / ({whole} > 0)"


def total(metric: str, more: str = "", window: str = "1h", by: str = "") -> str:
    """Return the increase of a counter over all pods, or by a label."""
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (increase({metric}{{{POD}{',' if more else ''}{more}}}[{window}]))"
