"""``evaluation`` of a manifest: the main figures of the version on a cohort.

Radiation necrosis is the positive class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from glioserve_contract.codec import Digest, SchemaError, is_sha256_digest

Counting = Literal["metrics", "every_study"]
"""Studies that a figure counts: those that were answered; or all, a study that failed or abstained being wrong."""


@dataclass(frozen=True)
class EvaluationFigure:
    """A figure and its 95% interval, where it has one."""

    value: float
    """The figure."""
    lower: float | None = None
    """Lower end of the interval; absent where there is none."""
    upper: float | None = None
    """Upper end of the interval; absent where there is none."""
    method: str = ""
    """Method of the interval; empty where there is none."""
    successes: int | None = None
    """Numerator of a proportion; absent from other figures."""
    n: int | None = None
    """Denominator of a proportion; absent from other figures."""

    @property
    def interval(self) -> str:
        """The interval as ``0.400 to 0.960``; empty where there is none."""
        return "" if self.lower is None or self.upper is None else f"{self.lower:.3f} to {self.upper:.3f}"

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.interval})" if self.interval else f"{self.value:.3f}"


@dataclass(frozen=True)
class EvaluationRates:
    """Rates at the recipe's threshold; absent where no study is counted."""

    sensitivity: EvaluationFigure | None = None
    """Share of radiation necrosis that is labelled necrosis, 0 to 1."""
    specificity: EvaluationFigure | None = None
    """Share of recurrence that is labelled recurrence, 0 to 1."""
    accuracy: EvaluationFigure | None = None
    """Share of studies with the right label, 0 to 1."""


@dataclass(frozen=True)
class EvaluationMetrics(EvaluationRates):
    """Figures over the answered studies; absent where they are undefined."""

    auc: EvaluationFigure | None = None
    """Area under the ROC curve, 0 to 1."""
    calibration_error: EvaluationFigure | None = None
    """Expected calibration error, 0 to 1."""
    brier: EvaluationFigure | None = None
    """Brier score, 0 to 1."""


@dataclass(frozen=True)
class EvaluationSummary:
    """Summary of an ``evaluation.json`` in a manifest: counts, the main figures with their intervals, digests."""

    cases: int
    """Number of studies that were answered with a label."""
    studies: int
    """Number of studies of the cohort."""
    failed: int
    """Number of studies that ended in an error."""
    abstained: int
    """Number of studies with a score and without a label."""
    metrics: EvaluationMetrics
    """Figures over the answered studies."""
    every_study: EvaluationRates
    """Rates over all studies, one that failed or abstained being wrong."""
    weights_digest: Digest
    """``sha256:…`` of the weights that were evaluated."""
    recipe_digest: Digest
    """``sha256:…`` of the recipe that was evaluated."""
    cohort_digest: Digest
    """``sha256:…`` of the table of labels and groups by case."""
    digest: Digest
    """``sha256:…`` of ``evaluation.json``."""
    created: str
    """Time of the evaluation: UTC, ISO 8601."""

    def check(self, path: str) -> None:
        """Raise SchemaError where a digest is not one."""
        for name in ("weights_digest", "recipe_digest", "cohort_digest", "digest"):
            if not is_sha256_digest(getattr(self, name)):
                raise SchemaError(f"{path}.{name}", "must be 'sha256:' and 64 hex digits")

    def figure(self, name: str, counting: Counting = "metrics") -> EvaluationFigure | None:
        """Return the figure ``name``; None where it is undefined (no study of a class) or is not counted so."""
        found: EvaluationFigure | None = getattr(getattr(self, counting), name, None)
        return found
