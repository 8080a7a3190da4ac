"""``evaluation.json``: everything an evaluation found, as frozen values; and what a manifest keeps of it.

No case is in it: those are in ``cases.csv``. Needs neither plotting nor scikit-learn, so that a publisher can read one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from glioserve_contract import ErrorCode, GlioserveError, SchemaError, from_dict, sha256_digest, to_dict
from glioserve_contract.records.facts.evaluation import (
    EvaluationFigure,
    EvaluationMetrics,
    EvaluationRates,
    EvaluationSummary,
)
from glioserve_evaluation.figures.figures import (
    DEFAULT_BINS,
    DEFAULT_RESAMPLES,
    CalibrationBin,
    Confusion,
    Estimate,
    IntervalMethod,
    OperatingPoint,
    Proportion,
    RocPoint,
    TTest,
)
from glioserve_evaluation.runs.prediction import ModelFacts

EVALUATION_SCHEMA: Literal["glioserve/evaluation/1"] = "glioserve/evaluation/1"
COUNTINGS = {
    "answered": "answered only: studies with a label, neither failed nor abstained",
    "scored": "with a score: abstentions count by their score, failures not at all",
    "every_study": "failures count as wrong: every study of the cohort; one that failed or abstained is wrong",
}
"""The three ways of counting, which every table names."""


@dataclass(frozen=True)
class Settings:
    """Settings of the figures' computation."""

    interval_method: IntervalMethod = "wilsoncc"
    """Method of the proportions' intervals."""
    bins: int = DEFAULT_BINS
    """Number of calibration bins."""
    resamples: int = DEFAULT_RESAMPLES
    """Resamples of the bootstrap."""
    seed: int = 0
    """Seed of the bootstrap."""
    wanted_sensitivity: float | None = None


@dataclass(frozen=True)
class Counts:
    """Numbers of studies by their fate: ``studies = answered + abstained + failed``."""

    studies: int
    necrosis: int
    recurrence: int
    answered: int
    """Studies with a label."""
    abstained: int
    """Studies with a score and reasons to give no label."""
    failed: int
    errors: dict[str, int] = field(default_factory=dict)
    """Failures by their code."""


@dataclass(frozen=True)
class Rates:
    """Rates at the recipe's threshold; None where no study is counted."""

    n: int
    sensitivity: Proportion | None
    """Share of necroses that are called necrosis."""
    specificity: Proportion | None
    accuracy: Proportion | None


@dataclass(frozen=True)
class Figures:
    """All figures of the studies that one way of counting takes. None where one class, or all, are missing."""

    rates: Rates
    confusion: Confusion
    auc: Estimate | None
    """AUC with DeLong's interval."""
    auc_bootstrap: Estimate | None
    brier: float | None
    calibration_error: float | None


@dataclass(frozen=True)
class Subgroup:
    """Studies of one ``group`` of the table; empty for those of none."""

    group: str
    counts: Counts
    answered: Figures
    every_study: Rates


@dataclass(frozen=True)
class EvaluationReport:
    """Everything that an evaluation found. Figures are of ``answered`` unless stated otherwise."""

    schema: Literal["glioserve/evaluation/1"]
    notice: str
    created: str
    """Time of the evaluation, in UTC by ISO 8601."""
    model: ModelFacts
    cohort_digest: str
    """Digest of the table of labels and groups by case."""
    settings: Settings
    counts: Counts
    answered: Figures
    scored: Figures
    every_study: Rates
    t_test: TTest | None
    """Test of all scores against 0.5."""
    t_test_necrosis: TTest | None
    t_test_recurrence: TTest | None
    operating_point: OperatingPoint | None
    roc: tuple[RocPoint, ...] = ()
    calibration: tuple[CalibrationBin, ...] = ()
    subgroups: tuple[Subgroup, ...] = ()
    warnings: tuple[str, ...] = ()
    """Sentences that a reader must know before believing a figure."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of glioserve, the contract and the libraries."""


def report_bytes(report: EvaluationReport) -> bytes:
    """Return ``evaluation.json``, byte for byte."""
    return (json.dumps(to_dict(report), indent=2, allow_nan=False) + "\n").encode()


def load_report(path: Path) -> EvaluationReport:
    """Read ``evaluation.json`` (GLIO-5121)."""
    try:
        return from_dict(EvaluationReport, json.loads(path.read_bytes()))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _invalid(f"{path.name} cannot be read: {type(error).__name__}") from error
    except SchemaError as error:
        raise _invalid(f"{path.name} is not an evaluation: {error}") from error


def read_summary(path: Path) -> EvaluationSummary:
    """Return the summary of an ``evaluation.json`` by ``glioserve evaluate``; GLIO-5121 where it is not one."""
    return summary_for_manifest(load_report(path))


def summary_for_manifest(report: EvaluationReport) -> EvaluationSummary:
    """Return what a version's manifest keeps: the main figures with their intervals, counts, digests."""
    counts, figures = report.counts, report.answered
    metrics = EvaluationMetrics(
        **_rates(figures.rates),
        auc=_figure(figures.auc),
        calibration_error=_value(figures.calibration_error),
        brier=_value(figures.brier),
    )
    return EvaluationSummary(
        cases=counts.answered,
        studies=counts.studies,
        failed=counts.failed,
        abstained=counts.abstained,
        metrics=metrics,
        every_study=EvaluationRates(**_rates(report.every_study)),
        weights_digest=report.model.weights_digest,
        recipe_digest=report.model.recipe_digest,
        cohort_digest=report.cohort_digest,
        digest=sha256_digest(report_bytes(report)),
        created=report.created,
    )


def _rates(rates: Rates) -> dict[str, EvaluationFigure | None]:
    return {name: _figure(getattr(rates, name)) for name in ("sensitivity", "specificity", "accuracy")}


def _figure(figure: Estimate | Proportion | None) -> EvaluationFigure | None:
    return None if figure is None else EvaluationFigure(**asdict(figure))


def _value(value: float | None) -> EvaluationFigure | None:
    return None if value is None else EvaluationFigure(value)


def _invalid(problem: str) -> GlioserveError:
    return GlioserveError(ErrorCode.INVALID_COHORT, f"{problem}.")
