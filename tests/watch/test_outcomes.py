"""Outcomes: statistics that hold at every look, a book that loses nothing, and what they say of a model."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from scipy.special import betaln

from glioserve_cli.main import main
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.report import ModelRecord
from glioserve_contract.records.studies.outcome import OutcomeRecord
from glioserve_contract.records.studies.study import StudyFeatures, StudyRecord, plain_request_id
from glioserve_watch.audit.files import AUDIT_FOLDER
from glioserve_watch.audit.log import AuditLog
from glioserve_watch.outcomes.book import OutcomeBook, outcome_of
from glioserve_watch.outcomes.evidence import ALTERNATIVES, Expectation, Fall, interval
from glioserve_watch.outcomes.exposition import OutcomeCollector
from glioserve_watch.outcomes.standing import WORSE_AT, standings

MODEL = ModelRecord("demo", "3", "sha256:" + "a" * 64, "resnet10")
STUDY = StudyRecord(
    "00000000000000000001-7-0", "2026-01-31T23:59:59.000Z", "r-1", "answered", "", "report", "2.1.0",
    caller="ward", model=MODEL, score=0.9, label="recurrence",
    features=StudyFeatures({"field_strength_tesla": 1.5}, {"manufacturer": "SIEMENS"}),
)  # fmt: skip


def outcomes(*answers: tuple[str, str], **groups: str) -> list[OutcomeRecord]:
    """Records of pairs of truth and label."""
    studies = (replace(STUDY, request_id=f"r-{n}", label=label) for n, (_, label) in enumerate(answers))
    made = (outcome_of(study, truth, "pathology") for study, (truth, _) in zip(studies, answers, strict=True))
    return [replace(outcome, groups=groups) for outcome in made]


# the statistics


@pytest.mark.parametrize(("right", "wrong"), [(0, 0), (0, 7), (9, 0), (47, 3), (500, 500)])
def test_the_interval_ends_where_the_mixture_has_refuted(right: int, wrong: int) -> None:
    lower, upper = interval(right, wrong, error=0.1)
    n = right + wrong
    assert 0 <= lower <= (right / n if n else 0.5) <= upper <= 1
    for edge in {lower, upper} - {0.0, 1.0}:
        likelihood = right * np.log(edge) + wrong * np.log1p(-edge)
        assert betaln(right + 1, wrong + 1) - likelihood == pytest.approx(-np.log(0.1), abs=1e-6)
    assert (lower == 0) == (right == 0)
    assert (upper == 1) == (wrong == 0)


def test_the_evidence_is_the_mean_over_where_it_fell_and_how_far() -> None:
    """The sums are written out: over each study from which the rate is lower, and over each lower rate."""
    expected, answers = 0.9, [True, True, False, True, False, False]
    fall = Fall(Expectation(expected))
    for answer in answers:
        fall.add(answer)
    total = 1 / (len(answers) + 1)
    for first in range(len(answers)):
        ratios = []
        for k in range(ALTERNATIVES):
            lower = expected * k / ALTERNATIVES
            ratios.append(np.prod([lower / expected if a else (1 - lower) / (1 - expected) for a in answers[first:]]))
        total += np.mean(ratios) / ((first + 1) * (first + 2))
    assert fall.evidence == pytest.approx(total)


def test_on_a_model_as_good_as_expected_the_evidence_does_not_grow_on_average() -> None:
    """The mean over all answers of five studies, each with its probability, is exactly 1: the martingale itself."""
    expected, mean = 0.8, 0.0
    for answers in np.ndindex(2, 2, 2, 2, 2):
        fall = Fall(Expectation(expected))
        for answer in answers:
            fall.add(bool(answer))
        mean += fall.evidence * expected ** sum(answers) * (1 - expected) ** (5 - sum(answers))
    assert mean == pytest.approx(1.0)


def test_an_evaluation_without_an_error_is_not_refuted_by_one() -> None:
    expectation = Expectation.of_figure(1.0, 20)
    assert expectation.rate == pytest.approx(21 / 22)
    fall = Fall(expectation)
    assert fall.add(False) < WORSE_AT
    assert Expectation.of_figure(0.9, 20).rate == 0.9
    assert Expectation.of_figure(1.0, None).rate == 0.5


# the book


def test_what_is_added_is_read_again_and_the_same_twice_is_once(tmp_path: Path) -> None:
    book, outcome = OutcomeBook(tmp_path), outcome_of(STUDY, "necrosis", "pathology")
    assert (book.add(outcome), book.add(replace(outcome, recorded_at="later"))) == (True, False)
    assert book.read() == (outcome,)
    assert outcome.groups == {"caller": "ward", "manufacturer": "SIEMENS", "field_strength": "1.5 T"}
    assert (outcome.version, outcome.digest, outcome.label, outcome.score) == ("3", MODEL.digest, "recurrence", 0.9)


def test_another_truth_needs_a_word_and_both_are_kept(tmp_path: Path) -> None:
    book, first = OutcomeBook(tmp_path), outcome_of(STUDY, "necrosis", "adjudicated")
    second = replace(first, truth="recurrence", source="pathology")
    with pytest.raises(GlioserveError, match="no outcome to correct") as nothing:
        book.add(replace(second, corrects=True))
    book.add(first)
    with pytest.raises(GlioserveError, match="is necrosis by adjudicated") as other:
        book.add(second)
    assert {nothing.value.code, other.value.code} == {ErrorCode.INVALID_OUTCOME}
    book.add(replace(second, corrects=True))
    assert book.read() == (replace(second, corrects=True),)
    assert len(book.file.read_bytes().splitlines()) == 2


@pytest.mark.parametrize(
    "sent", ["r-1", "ward 7/1 öst"], ids=["a plain word", "a text that records have as its digest"]
)
def test_the_command_finds_an_answer_by_the_id_that_was_sent(
    sent: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = AuditLog(tmp_path / AUDIT_FOLDER)
    log.take([replace(STUDY, request_id=plain_request_id(sent))])
    log.close()
    command = ["outcome", "add", sent, "necrosis", "--source", "pathology", "--study-log", str(tmp_path)]
    assert main(command) == 0
    assert "version 3 answered recurrence" in capsys.readouterr().out
    assert main(["outcome", "add", f"{sent}0", *command[3:]]) == 1
    assert "GLIO-5136" in capsys.readouterr().err
    (outcome,) = OutcomeBook(tmp_path).read()
    assert outcome.request_id == plain_request_id(sent)


def test_a_study_without_an_answer_has_no_outcome() -> None:
    with pytest.raises(GlioserveError, match="was not answered") as caught:
        outcome_of(replace(STUDY, model=None, score=None, outcome="refused"), "necrosis", "pathology")
    assert caught.value.code is ErrorCode.INVALID_OUTCOME


def test_a_line_that_a_kill_cut_off_gives_way_to_the_next(tmp_path: Path) -> None:
    book = OutcomeBook(tmp_path)
    first, second = outcomes(("necrosis", "necrosis"), ("recurrence", "recurrence"))
    book.add(first)
    with book.file.open("ab") as file:
        file.write(b'{"recorded_at": "20')
    assert book.read() == (first,)
    book.add(second)
    assert book.read() == (first, second)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    book = OutcomeBook(tmp_path)
    book.add(outcome_of(STUDY, "necrosis", "pathology"))
    book.file.write_bytes(b"{}\n" + book.file.read_bytes())
    with pytest.raises(GlioserveError, match="line 1 is damaged") as caught:
        book.read()
    assert caught.value.code is ErrorCode.INVALID_STUDY_LOG


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    many = outcomes(*[("necrosis", "necrosis")] * 40)
    threads = [
        threading.Thread(target=lambda part=part: [OutcomeBook(tmp_path).add(o) for o in part])
        for part in (many[::2], many[1::2])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(o.request_id for o in OutcomeBook(tmp_path).read()) == sorted(o.request_id for o in many)


# what they say


def test_rates_count_each_truth_and_leave_out_what_has_no_label() -> None:
    n, r = "necrosis", "recurrence"
    (standing,) = standings(outcomes((n, n), (n, n), (n, r), (r, r), (r, n), (r, ""), (n, "")), {})
    sensitivity, specificity = standing.rates["sensitivity"], standing.rates["specificity"]
    assert ((sensitivity.right, sensitivity.n), (specificity.right, specificity.n)) == ((2, 3), (1, 2))
    assert (standing.abstained, standing.worse, sensitivity.evidence) == (2, False, None)


def test_a_model_that_falls_is_called_worse_and_one_that_does_not_is_not() -> None:
    n, r = "necrosis", "recurrence"
    expected = {MODEL.digest: {"specificity": Expectation(0.94), "sensitivity": Expectation(0.8)}}
    good = [(r, n if k % 20 == 7 else r) for k in range(60)]  # 95% right
    bad = [(r, n if k % 2 else r) for k in range(60)]  # 50% right
    (before,), (after,) = standings(outcomes(*good), expected), standings(outcomes(*good, *bad), expected)
    assert (before.worse, after.worse) == (False, True)
    fell = after.rates["specificity"]
    assert fell.worse_after is not None
    assert 60 < fell.worse_after <= 80
    assert fell.evidence is not None
    assert fell.evidence >= WORSE_AT
    assert after.rates["sensitivity"].n == 0


def test_subgroups_have_their_own_rates() -> None:
    siemens = outcomes(("necrosis", "necrosis"), manufacturer="SIEMENS")
    ge = [replace(o, request_id="ge") for o in outcomes(("necrosis", "recurrence"), manufacturer="GE", caller="ward")]
    (standing,) = standings([*siemens, *ge], {})
    found = {group: rates["sensitivity"].value for group, rates in standing.subgroups.items()}
    assert found == {"caller ward": 0.0, "manufacturer GE": 0.0, "manufacturer SIEMENS": 1.0}


def test_the_page_of_metrics_follows_the_book(tmp_path: Path) -> None:
    book, registry = OutcomeBook(tmp_path), CollectorRegistry()
    registry.register(OutcomeCollector(book, lambda: {MODEL.digest: {"specificity": Expectation(0.94)}}))
    assert registry.get_sample_value("glioserve_outcome_worse", {"version": "3", "rate": "specificity"}) is None
    for outcome in outcomes(*[("recurrence", "necrosis")] * 3):
        book.add(outcome)
    specificity = {"version": "3", "rate": "specificity"}
    assert registry.get_sample_value("glioserve_outcome_rate_ratio", {**specificity, "of": "value"}) == 0
    assert registry.get_sample_value("glioserve_outcome_rate_ratio", {**specificity, "of": "evaluated"}) == 0.94
    assert registry.get_sample_value("glioserve_outcome_worse", specificity) == 1
    cell = {"version": "3", "truth": "recurrence", "answer": "necrosis"}
    assert registry.get_sample_value("glioserve_outcome_studies", cell) == 3
    book.file.write_bytes(b"damaged\n")
    assert registry.get_sample_value("glioserve_outcome_studies", cell) == 3
    assert b"r-1" not in generate_latest(registry)
