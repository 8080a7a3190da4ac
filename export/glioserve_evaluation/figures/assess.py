"""Outcomes to the report: which studies a figure counts, and what it comes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from importlib.metadata import version as package_version

import numpy as np

from glioserve_contract import CONTRACT_VERSION, NOT_FOR_CLINICAL_USE, ErrorCode, GlioserveError
from glioserve_evaluation.figures.roc import auc_bootstrap, auc_delong, necrosis_auc, operating_point, roc_points
from glioserve_evaluation.figures.statistics import (
    Scores,
    Truths,
    brier,
    calibration_bins,
    calibration_error,
    confusion,
    proportion,
    t_test,
)
from glioserve_evaluation.reports.report import (
    EVALUATION_SCHEMA,
    Counts,
    EvaluationReport,
    Figures,
    Rates,
    Settings,
    Subgroup,
)
from glioserve_evaluation.runs.prediction import ModelFacts
from glioserve_evaluation.runs.results import Outcome
from glioserve_registry.publishing.publication import glioserve_version

FEW_OF_A_CLASS = 10
"""Below, intervals are wide and a calibration or a threshold fitted to them means little."""
_LIBRARIES = ("numpy", "scipy", "scikit-learn")


def assess(outcomes: Sequence[Outcome], model: ModelFacts, cohort_digest: str, settings: Settings) -> EvaluationReport:
    """Compute the report on ``outcomes``, which are all of one network and one cohort.

    GLIO-5121 where a wanted sensitivity has no threshold.
    """
    answered = [o for o in outcomes if o.labelled]
    scores, necrosis = scores_of(answered)
    both = _both(necrosis)
    wanted = settings.wanted_sensitivity
    if wanted is not None and not both:
        raise GlioserveError(
            ErrorCode.INVALID_COHORT, "Studies of both diagnoses must have been answered to choose a threshold."
        )
    return EvaluationReport(
        schema=EVALUATION_SCHEMA,
        notice=NOT_FOR_CLINICAL_USE,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        model=model,
        cohort_digest=cohort_digest,
        settings=settings,
        counts=_counts(outcomes),
        answered=_figures(answered, settings),
        scored=_figures([o for o in outcomes if o.score is not None], settings),
        every_study=_rates(outcomes, settings),
        t_test=t_test(scores),
        t_test_necrosis=t_test(scores[necrosis]),
        t_test_recurrence=t_test(scores[~necrosis]),
        operating_point=None if wanted is None else operating_point(scores, necrosis, wanted),
        roc=roc_points(scores, necrosis) if both else (),
        calibration=calibration_bins(scores, necrosis, settings.bins) if answered else (),
        subgroups=tuple(_subgroups(outcomes, settings)),
        warnings=tuple(_warnings(outcomes, answered)),
        versions={
            "glioserve": glioserve_version(),
            "contract": CONTRACT_VERSION,
            **{name: package_version(name) for name in _LIBRARIES},
        },
    )


def scores_of(outcomes: Sequence[Outcome]) -> tuple[Scores, Truths]:
    """Return (scores, True for necrosis) of the outcomes that have a score, both [n]."""
    scores = np.array([o.score for o in outcomes], dtype=np.float64)
    return scores, np.array([o.label == "necrosis" for o in outcomes], dtype=np.bool_)


def _counts(outcomes: Sequence[Outcome]) -> Counts:
    errors = Counter(o.error for o in outcomes if o.error)
    return Counts(
        studies=len(outcomes),
        necrosis=sum(o.label == "necrosis" for o in outcomes),
        recurrence=sum(o.label == "recurrence" for o in outcomes),
        answered=sum(o.labelled for o in outcomes),
        abstained=sum(o.score is not None and not o.labelled for o in outcomes),
        failed=sum(errors.values()),
        errors=dict(sorted(errors.items())),
    )


def _rates(outcomes: Sequence[Outcome], settings: Settings) -> Rates:
    """Return rates over all outcomes; a missing label counts as wrong."""
    right = np.array([o.labelled and o.predicted == o.label for o in outcomes], dtype=np.bool_)
    necrosis = np.array([o.label == "necrosis" for o in outcomes], dtype=np.bool_)
    return _rates_of(right, necrosis, settings)


def _rates_of(right: Truths, necrosis: Truths, settings: Settings) -> Rates:
    method = settings.interval_method
    return Rates(
        n=len(right),
        sensitivity=proportion(int(right[necrosis].sum()), int(necrosis.sum()), method),
        specificity=proportion(int(right[~necrosis].sum()), int((~necrosis).sum()), method),
        accuracy=proportion(int(right.sum()), len(right), method),
    )


def _figures(outcomes: Sequence[Outcome], settings: Settings) -> Figures:
    """Return the figures over outcomes that have a score; the label is the threshold's side."""
    scores, necrosis = scores_of(outcomes)
    called = np.array([o.predicted == "necrosis" for o in outcomes], dtype=np.bool_)
    both = _both(necrosis)
    return Figures(
        rates=_rates_of(called == necrosis, necrosis, settings),
        confusion=confusion(called, necrosis),
        auc=auc_delong(scores, necrosis) if both else None,
        auc_bootstrap=auc_bootstrap(scores, necrosis, settings.resamples, settings.seed) if both else None,
        brier=brier(scores, necrosis) if outcomes else None,
        calibration_error=calibration_error(calibration_bins(scores, necrosis, settings.bins)) if outcomes else None,
    )


def _subgroups(outcomes: Sequence[Outcome], settings: Settings) -> Iterator[Subgroup]:
    """Return the figures of each group, and last of the studies without one; nothing where the table has no groups."""
    groups = sorted({o.group for o in outcomes}, key=lambda g: (not g, g))
    if groups == [""]:
        return
    for group in groups:
        part = [o for o in outcomes if o.group == group]
        yield Subgroup(
            group, _counts(part), _figures([o for o in part if o.labelled], settings), _rates(part, settings)
        )


def _both(necrosis: Truths) -> bool:
    return bool(necrosis.any() and not necrosis.all())


def _warnings(outcomes: Sequence[Outcome], answered: Sequence[Outcome]) -> Iterator[str]:
    without = len(outcomes) - len(answered)
    if without:
        yield (
            f"{_studies(without)} of {len(outcomes)} without a label (failed or abstained): compare the ways of "
            "counting, for what fails is seldom failing at random."
        )
    scores, necrosis = scores_of(answered)
    for name, n in (("necrosis", int(necrosis.sum())), ("recurrence", int((~necrosis).sum()))):
        if n == 0:
            yield f"No answered study is {name}: there is no AUC, and no rate of it."
        elif n < FEW_OF_A_CLASS:
            yield f"Only {_studies(n)} of {name} got a label: every figure of it is uncertain."
    if _both(necrosis) and necrosis_auc(scores, necrosis) in (0.0, 1.0):
        yield (
            "The two diagnoses' scores do not overlap: the AUC's intervals are a point and say nothing of another "
            "cohort."
        )
    later = sum(o.may_pass_later for o in outcomes)
    if later:
        yield f"{_studies(later)} failed for reasons that may have passed: the same command asks again."


def _studies(n: int) -> str:
    return "1 study" if n == 1 else f"{n} studies"
