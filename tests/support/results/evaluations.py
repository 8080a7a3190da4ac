"""Evaluation reports without an evaluation: for what is done with them afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glioserve_contract import NOT_FOR_CLINICAL_USE
from glioserve_contract.records.manifest import Manifest
from glioserve_evaluation.figures.figures import Confusion, Estimate, Proportion
from glioserve_evaluation.reports.report import (
    Counts,
    EvaluationReport,
    Figures,
    Rates,
    Settings,
    report_bytes,
)
from glioserve_evaluation.runs.prediction import facts_of


def _proportion(successes: int, n: int, lower: float, upper: float) -> Proportion:
    return Proportion(successes, n, successes / n, lower, upper, "wilsoncc")


PUBLISHED = Rates(58, _proportion(7, 9, 0.40, 0.96), _proportion(46, 49, 0.82, 0.98), _proportion(53, 58, 0.80, 0.97))
"""The counts of the published study."""
EVERY = Rates(60, _proportion(7, 10, 0.35, 0.92), _proportion(46, 50, 0.80, 0.98), _proportion(53, 60, 0.77, 0.95))


def report_for(manifest: Manifest, **changes: Any) -> EvaluationReport:
    """A report of this version; ``changes`` are fields of its model's facts."""
    facts = facts_of(manifest.recipe, manifest.weights_digest, "exported version")
    figures = Figures(PUBLISHED, Confusion(7, 2, 3, 46), Estimate(0.83, 0.73, 0.93, "delong"), None, 0.09, 0.05)
    return EvaluationReport(
        schema="glioserve/evaluation/1",
        notice=NOT_FOR_CLINICAL_USE,
        created="2031-05-06T07:08:09+00:00",
        model=type(facts)(**{**facts.__dict__, **changes}),
        cohort_digest="sha256:" + "c" * 64,
        settings=Settings(),
        counts=Counts(60, 10, 50, 58, 1, 1, {"GLIO-1301": 1}),
        answered=figures,
        scored=figures,
        every_study=EVERY,
        t_test=None,
        t_test_necrosis=None,
        t_test_recurrence=None,
        operating_point=None,
    )


def write_evaluation(path: Path, manifest: Manifest, **changes: Any) -> Path:
    """``evaluation.json`` of :func:`report_for`."""
    path.write_bytes(report_bytes(report_for(manifest, **changes)))
    return path
