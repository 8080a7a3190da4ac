"""The figures' records: plain frozen values, readable without the libraries that compute them.

Radiation necrosis is the positive class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

IntervalMethod = Literal["wilsoncc", "wilson", "exact", "wald"]
"""Wilson's score interval with and without continuity correction (Newcombe 1998), Clopper-Pearson's; and Wald's,
which leaves [0, 1] and misses its level where studies are few: only to reproduce what others published."""
INTERVAL_NAMES: dict[IntervalMethod, str] = {
    "wilsoncc": "Wilson's with continuity correction",
    "wilson": "Wilson's",
    "exact": "Clopper-Pearson's",
    "wald": "Wald's, which is too narrow where studies are few",
}
LEVEL = 0.95
"""Confidence level of every interval."""
DEFAULT_BINS = 10
"""Number of calibration bins."""
DEFAULT_RESAMPLES = 2000
"""Resamples of the bootstrap."""


@dataclass(frozen=True)
class Estimate:
    """A figure, and its interval of :data:`LEVEL` where it has one."""

    value: float
    lower: float | None = None
    upper: float | None = None
    method: str = ""
    """Method of the interval."""


@dataclass(frozen=True)
class Proportion:
    """``successes`` of ``n``, which is at least 1."""

    successes: int
    n: int
    value: float
    lower: float
    upper: float
    method: IntervalMethod


@dataclass(frozen=True)
class Confusion:
    """Counts of studies with a label. Positive: called radiation necrosis."""

    true_positive: int
    """Necrosis called necrosis."""
    false_negative: int
    """Necrosis called recurrence."""
    false_positive: int
    """Recurrence called necrosis."""
    true_negative: int
    """Recurrence called recurrence."""


@dataclass(frozen=True)
class TTest:
    """One-sample t-test of SCOREs against 0.5, two-sided, and the interval of their mean."""

    n: int
    mean: float
    lower: float
    upper: float
    t: float
    degrees_of_freedom: int
    p: float


@dataclass(frozen=True)
class CalibrationBin:
    """Studies whose probability of necrosis lies in [lower, upper), the last bin's upper end included."""

    lower: float
    upper: float
    n: int
    mean_probability: float | None
    """Mean probability of necrosis; None in an empty bin."""
    observed: float | None
    """Share that was necrosis."""


@dataclass(frozen=True)
class RocPoint:
    """Rates where all studies with a score at or below ``score`` are called necrosis."""

    false_positive_rate: float
    """1 - specificity."""
    true_positive_rate: float
    """Sensitivity."""
    score: float | None
    """Largest score that is called necrosis; None at the origin, below every study."""


@dataclass(frozen=True)
class OperatingPoint:
    """The threshold of highest specificity among those of a wanted sensitivity, and its rates on these studies."""

    wanted_sensitivity: float
    threshold: float
    """Value for ``recipe.threshold``: LABEL is recurrence iff SCORE >= threshold, so more sensitivity to necrosis means
    a higher one."""
    sensitivity: float
    specificity: float
