"""Outcomes to a report: which studies each way of counting takes, what a reader is warned of, what a manifest keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glioserve_contract import ErrorCode, GlioserveError, from_dict, to_dict
from glioserve_contract.records.facts.evaluation import EvaluationSummary
from glioserve_evaluation.figures.assess import assess, scores_of
from glioserve_evaluation.figures.figures import Confusion
from glioserve_evaluation.figures.roc import auc_bootstrap, auc_delong, operating_point
from glioserve_evaluation.figures.statistics import t_test
from glioserve_evaluation.reports.report import (
    Counts,
    EvaluationReport,
    Settings,
    load_report,
    read_summary,
    report_bytes,
    summary_for_manifest,
)
from glioserve_evaluation.runs.results import Outcome
from glioserve_preprocess.files import file_digest
from glioserve_registry.publishing.model_card import evaluation_rows
from support.results.evaluation import MODEL, drawn_outcomes, outcome

DIGEST = "sha256:" + "c" * 64

MIXED = [
    outcome("n1", "necrosis", 0.2),
    outcome("n2", "necrosis", 0.7),
    outcome("n3", "necrosis", 0.3, abstained=2),
    outcome("n4", "necrosis", None, error="GLIO-1303"),
    outcome("r1", "recurrence", 0.9),
    outcome("r2", "recurrence", 0.8),
    outcome("r3", "recurrence", 0.4),
    outcome("r4", "recurrence", 0.1, abstained=1),
    outcome("r5", "recurrence", None, error="GLIO-1301"),
    outcome("r6", "recurrence", None, error="GLIO-1301"),
]
"""Outcomes of every kind: right, wrong, abstained on either side, failed."""


def report_of(outcomes: list[Outcome], **settings: object) -> EvaluationReport:
    return assess(outcomes, MODEL, DIGEST, Settings(resamples=200, **settings))  # type: ignore[arg-type]


def published(extra: int = 0) -> list[Outcome]:
    """Scores with the published study's counts: 7 of 9 necroses and 46 of 49 recurrences on their side."""
    scores = [*[0.11] * 7, *[0.9] * 2, *[0.92] * 46, *[0.3] * 3]
    found = [outcome(f"c{i}", "necrosis" if i < 9 else "recurrence", s) for i, s in enumerate(scores)]
    return found + [outcome(f"x{i}", "necrosis", None, error="GLIO-1303") for i in range(extra)]


def shares(rates: object) -> tuple[tuple[int, int], ...]:
    found = (getattr(rates, name) for name in ("sensitivity", "specificity", "accuracy"))
    return tuple((p.successes, p.n) for p in found)


def test_each_way_of_counting_takes_its_studies() -> None:
    report = report_of(MIXED)
    assert report.counts == Counts(10, 4, 6, 5, 2, 3, {"GLIO-1301": 2, "GLIO-1303": 1})
    assert shares(report.answered.rates) == ((1, 2), (2, 3), (3, 5))
    assert shares(report.scored.rates) == ((2, 3), (2, 4), (4, 7))
    assert shares(report.every_study) == ((1, 4), (2, 6), (3, 10))
    assert report.answered.confusion == Confusion(1, 1, 1, 2)
    assert report.scored.confusion == Confusion(2, 1, 2, 2)


def test_figures_of_scores_are_of_the_answered_studies() -> None:
    report = report_of(MIXED)
    scores, necrosis = np.array([0.2, 0.7, 0.9, 0.8, 0.4]), np.array([True, True, False, False, False])
    assert report.answered.auc == auc_delong(scores, necrosis)
    assert report.answered.auc_bootstrap == auc_bootstrap(scores, necrosis, 200, 0)
    assert report.answered.brier == pytest.approx(np.mean([0.2**2, 0.7**2, 0.1**2, 0.2**2, 0.6**2]))
    assert (report.t_test, report.t_test_necrosis, report.t_test_recurrence) == (
        t_test(scores), t_test(scores[necrosis]), t_test(scores[~necrosis]),
    )  # fmt: skip
    assert sum(b.n for b in report.calibration) == 5
    assert {p.score for p in report.roc} <= {None, *scores}


def test_the_other_ways_of_counting_see_the_abstentions_scores() -> None:
    report = report_of(MIXED)
    scores, necrosis = scores_of([o for o in MIXED if o.score is not None])
    assert len(scores) == 7
    assert report.scored.auc == auc_delong(scores, necrosis)
    assert report.scored.auc != report.answered.auc


@pytest.mark.parametrize(
    ("method", "sensitivity", "specificity", "accuracy"),
    [
        ("wilsoncc", (0.78, 0.40, 0.96), (0.94, 0.82, 0.98), None),
        ("wald", None, None, (0.91, 0.84, 0.99)),
    ],
)
def test_the_published_table_comes_out_of_a_report(
    method: str,
    sensitivity: tuple[float, ...] | None,
    specificity: tuple[float, ...] | None,
    accuracy: tuple[float, ...] | None,
) -> None:
    rates = report_of(published(), interval_method=method).answered.rates
    assert shares(rates) == ((7, 9), (46, 49), (53, 58))
    for name, expected in (("sensitivity", sensitivity), ("specificity", specificity), ("accuracy", accuracy)):
        figure = getattr(rates, name)
        assert expected in (None, tuple(round(v, 2) for v in (figure.value, figure.lower, figure.upper)))


def test_a_failure_counts_against_the_sensitivity_of_every_study_alone() -> None:
    report = report_of(published(extra=1))
    assert shares(report.answered.rates)[0] == (7, 9)
    assert shares(report.every_study) == ((7, 10), (46, 49), (53, 59))


def test_the_bootstrap_and_the_calibration_are_their_settings() -> None:
    outcomes = drawn_outcomes(1, 20, 40)
    report = report_of(outcomes, bins=4, seed=7)
    scores, necrosis = scores_of(outcomes)
    assert report.answered.auc_bootstrap == auc_bootstrap(scores, necrosis, 200, 7)
    assert report.answered.auc_bootstrap != report_of(outcomes, seed=8).answered.auc_bootstrap
    assert len(report.calibration) == 4
    assert (report.settings.bins, report.settings.seed, report.settings.resamples) == (4, 7, 200)


def test_an_operating_point_is_given_where_one_is_wanted() -> None:
    outcomes = drawn_outcomes(2, 20, 40)
    assert report_of(outcomes).operating_point is None
    point = report_of(outcomes, wanted_sensitivity=0.9).operating_point
    assert point == operating_point(*scores_of(outcomes), 0.9)
    with pytest.raises(GlioserveError, match="both diagnoses") as caught:
        report_of([o for o in outcomes if o.label == "necrosis"], wanted_sensitivity=0.9)
    assert caught.value.code is ErrorCode.INVALID_COHORT


def test_subgroups_are_reports_of_their_own_studies() -> None:
    outcomes = [replace(o, group=group) for o, group in zip(MIXED, "BBAAAABBBB", strict=True)]
    outcomes[-1] = replace(outcomes[-1], group="")
    report = report_of(outcomes)
    assert [g.group for g in report.subgroups] == ["A", "B", ""]
    for subgroup in report.subgroups:
        alone = report_of([o for o in outcomes if o.group == subgroup.group])
        assert (subgroup.counts, subgroup.answered, subgroup.every_study) == (
            alone.counts, alone.answered, alone.every_study,
        )  # fmt: skip
    assert sum(g.counts.studies for g in report.subgroups) == 10


def test_a_table_without_groups_has_no_subgroups() -> None:
    assert report_of(MIXED).subgroups == ()


def test_one_diagnosis_among_the_answers_leaves_what_needs_both_open() -> None:
    report = report_of([*MIXED[:2], outcome("r", "recurrence", None, error="GLIO-1303")])
    assert (report.answered.auc, report.answered.auc_bootstrap, report.roc) == (None, None, ())
    assert report.answered.rates.specificity is None
    assert report.every_study.specificity is not None
    assert report.every_study.specificity.value == 0
    assert "No answered study is recurrence: there is no AUC, and no rate of it." in report.warnings


def test_no_answer_at_all_is_still_a_report() -> None:
    report = report_of(
        [outcome("n", "necrosis", None, error="GLIO-1303"), outcome("r", "recurrence", 0.9, abstained=1)]
    )
    assert (report.answered.brier, report.answered.calibration_error, report.calibration) == (None, None, ())
    assert report.scored.brier == pytest.approx(0.01)
    assert report.t_test is None
    assert shares(report.every_study) == ((0, 1), (0, 1), (0, 2))


@pytest.mark.parametrize(
    ("outcomes", "warning"),
    [
        (MIXED, "5 studies of 10 without a label (failed or abstained)"),
        (published(extra=1), "1 study of 59 without a label"),
        (published(), "Only 9 studies of necrosis got a label"),
        (
            [outcome("a", "necrosis", 0.1), outcome("b", "recurrence", 0.8)],
            "Only 1 study of recurrence got a label",
        ),
        ([outcome("a", "necrosis", 0.1), outcome("b", "recurrence", 0.8)], "scores do not overlap"),
        ([outcome("a", "necrosis", 0.8), outcome("b", "recurrence", 0.1)], "scores do not overlap"),
        (
            [*MIXED, outcome("x", "necrosis", None, error="GLIO-4101")],
            "1 study failed for reasons that may have passed",
        ),
        ([*MIXED, outcome("x", "necrosis", None, error="unknown")], "1 study failed for reasons that may have passed"),
    ],
)
def test_a_reader_is_warned(outcomes: list[Outcome], warning: str) -> None:
    assert [w for w in report_of(outcomes).warnings if warning in w]


def test_many_answered_studies_of_overlapping_scores_need_no_warning() -> None:
    assert report_of(drawn_outcomes(3, 30, 70)).warnings == ()


@pytest.mark.parametrize("outcomes", [MIXED, drawn_outcomes(3, 30, 70), MIXED[3:4] + MIXED[8:9]])
def test_a_report_survives_its_file(tmp_path: Path, outcomes: list[Outcome]) -> None:
    wanted = 0.8 if len(outcomes) > 2 else None
    report = report_of(outcomes, wanted_sensitivity=wanted)
    file = tmp_path / "evaluation.json"
    file.write_bytes(report_bytes(report))
    assert load_report(file) == report
    assert json.loads(file.read_bytes())["schema"] == "glioserve/evaluation/1"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": "glioserve/evaluation/2"}, "schema"),
        ({"counts": {"studies": "ten"}}, "counts"),
        ({"surprise": 1}, "surprise"),
        ({"cohort_digest": None}, "cohort_digest"),
    ],
)
def test_a_file_that_is_no_report_is_told_by_its_key(tmp_path: Path, change: dict[str, object], told: str) -> None:
    value = {**json.loads(report_bytes(report_of(MIXED))), **change}
    file = tmp_path / "evaluation.json"
    file.write_text(json.dumps(value))
    with pytest.raises(GlioserveError, match=told) as caught:
        load_report(file)
    assert caught.value.code is ErrorCode.INVALID_COHORT


def test_a_manifest_keeps_both_ways_of_counting_and_which_file_they_are_of(tmp_path: Path) -> None:
    report = report_of(published(extra=2))
    file = tmp_path / "evaluation.json"
    file.write_bytes(report_bytes(report))
    summary = from_dict(EvaluationSummary, json.loads(json.dumps(to_dict(summary_for_manifest(report)))))
    assert (summary.studies, summary.cases, summary.failed, summary.abstained) == (60, 58, 2, 0)
    assert summary.digest == file_digest(file)
    assert (summary.cohort_digest, summary.recipe_digest) == (DIGEST, MODEL.recipe_digest)
    assert summary.weights_digest == MODEL.weights_digest
    answered, every = summary.metrics.sensitivity, summary.every_study.sensitivity
    assert str(answered) == "0.778 (0.402 to 0.961)"
    assert every is not None
    assert every.value == pytest.approx(7 / 11)
    assert read_summary(file) == summary
    assert summary.figure("auc", "every_study") is None
    rows = {name: value for name, value, _ in evaluation_rows(summary)}
    assert (rows["Studies"], rows["AUC"], rows["Brier"][:2]) == ("60", f"{report.answered.auc.value:.3f}", "0.")  # type: ignore[union-attr]
    assert rows["Accuracy, failures and abstentions wrong"].startswith("0.883")


def test_a_manifest_says_nothing_of_figures_that_are_not_there() -> None:
    summary = summary_for_manifest(report_of(MIXED[:2]))
    assert set(to_dict(summary.metrics)) == {"sensitivity", "accuracy", "calibration_error", "brier"}
    assert set(to_dict(summary.every_study)) == {"sensitivity", "accuracy"}
