"""The results of an unfinished run: kept to the last whole line, of one cohort and one network, by one writer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_evaluation.runs.results import RESULTS_FILE, ResultStore
from support.results.evaluation import MODEL, cohort_table, facts, outcome, small_cohort


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds the results of c0 and c1 of six cases."""
    cohort = small_cohort(tmp_path / "cohort")
    with ResultStore(tmp_path / "out", cohort, MODEL, resume=True) as store:
        store.add(outcome("c0", "necrosis", 0.2))
        store.add(outcome("c1", "recurrence", None, error="GLIO-1303"))
    return tmp_path


def reopened(folder: Path, **options: object) -> ResultStore:
    settings = {"model": MODEL, "resume": True, **options}
    return ResultStore(folder / "out", small_cohort(folder / "cohort"), **settings)  # type: ignore[arg-type]


def test_what_was_kept_comes_back_and_only_the_rest_is_pending(folder: Path) -> None:
    with reopened(folder) as store:
        assert store.outcomes == (outcome("c0", "necrosis", 0.2), outcome("c1", "recurrence", None, error="GLIO-1303"))
        assert [c.case for c in store.pending] == ["c2", "c3", "c4", "c5"]


def test_outcomes_come_in_the_cohorts_order(folder: Path) -> None:
    with reopened(folder) as store:
        store.add(outcome("c5", "recurrence", 0.9))
        store.add(outcome("c3", "recurrence", 0.9))
        assert [o.case for o in store.outcomes] == ["c0", "c1", "c3", "c5"]


@pytest.mark.parametrize("lost", [1, 2, 30, 100])
def test_a_line_that_was_cut_off_is_dropped(folder: Path, lost: int) -> None:
    file = folder / "out" / RESULTS_FILE
    whole = file.read_bytes()
    file.write_bytes(whole[:-lost])
    with reopened(folder) as store:
        assert [o.case for o in store.outcomes] == ["c0"]
        store.add(outcome("c1", "recurrence", 0.7))
    with reopened(folder) as store:
        assert [o.score for o in store.outcomes] == [0.2, 0.7]
    assert all(json.loads(line) for line in file.read_bytes().splitlines())


@pytest.mark.parametrize("kept_lines", [0, 1, 2])
def test_a_run_that_ended_before_its_first_outcome_goes_on(folder: Path, kept_lines: int) -> None:
    file = folder / "out" / RESULTS_FILE
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:kept_lines]) + lines[kept_lines][:10])
    with reopened(folder) as store:
        store.add(outcome("c0", "necrosis", 0.1))
    kinds = [json.loads(line)["kind"] for line in file.read_bytes().splitlines()]
    assert kinds == ["cohort", "model", "outcome"]


def test_a_damaged_line_in_the_middle_is_not_passed_over(folder: Path) -> None:
    file = folder / "out" / RESULTS_FILE
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:2], b'{"kind": "outcome", "case": 7}\n', lines[3]]))
    refused(folder, r"Line 3 of results.jsonl is damaged")


def test_another_cohorts_results_are_refused(folder: Path) -> None:
    cohort_table(folder / "cohort", ["recurrence", "necrosis", "recurrence"])
    table = folder / "cohort" / "cohort.csv"
    from glioserve_evaluation.runs.cohort import load_cohort

    with pytest.raises(GlioserveError, match="of another cohort") as caught:
        ResultStore(folder / "out", load_cohort(table), MODEL, resume=True)
    assert caught.value.code is ErrorCode.INVALID_COHORT


def test_labels_alike_on_other_studies_are_another_cohort(folder: Path) -> None:
    """Cases by running number whose rows changed places would take each other's answers."""
    table = folder / "cohort" / "cohort.csv"
    text = table.read_text().replace("DOE^JOHN 0", "swapped").replace("DOE^JOHN 2", "DOE^JOHN 0")
    table.write_text(text.replace("swapped", "DOE^JOHN 2"))
    from glioserve_evaluation.runs.cohort import load_cohort

    with pytest.raises(GlioserveError, match="of another cohort"):
        ResultStore(folder / "out", load_cohort(table), MODEL, resume=True)


@pytest.mark.parametrize("change", [{"weights_digest": "sha256:" + "1" * 64}, {"recipe_digest": "sha256:" + "2" * 64}])
def test_another_networks_results_are_refused(folder: Path, change: dict[str, str]) -> None:
    refused(folder, "one network at a time", model=facts(**change))
    with reopened(folder, model=None) as store:
        assert store.model == MODEL
        with pytest.raises(GlioserveError, match="one network at a time"):
            store.check_model(facts(**change))
        assert len(store.outcomes) == 2


def test_the_same_network_under_another_number_goes_on(folder: Path) -> None:
    with reopened(folder, model=facts(version="4", source="artifact")) as store:
        assert len(store.outcomes) == 2


def test_without_resume_it_begins_anew(folder: Path) -> None:
    with reopened(folder, model=facts(weights_digest="sha256:" + "1" * 64), resume=False) as store:
        assert store.outcomes == ()
        assert len(store.pending) == 6


def test_two_evaluations_do_not_write_to_one_file(folder: Path) -> None:
    with reopened(folder):
        refused(folder, "Another evaluation is writing")
        refused(folder, "Another evaluation is writing", resume=False)
    with reopened(folder) as store:
        assert len(store.outcomes) == 2, "nothing was lost to the one that was refused"


def test_what_may_pass_later_is_asked_again(folder: Path) -> None:
    again = {
        "c2": outcome("c2", "necrosis", None, error="GLIO-4101"),
        "c3": outcome("c3", "recurrence", None, error="unknown"),
        "c4": replace(outcome("c4", "necrosis", None, error="GLIO-1303"), weights_digest=""),
    }
    with reopened(folder) as store:
        for each in again.values():
            store.add(each)
    with reopened(folder) as store:
        assert [c.case for c in store.pending] == ["c2", "c3", "c4", "c5"]
        store.add(outcome("c2", "necrosis", 0.4))
    with reopened(folder) as store:
        assert {o.case: o.score for o in store.outcomes}["c2"] == 0.4
        assert [c.case for c in store.pending] == ["c3", "c4", "c5"]


def test_results_name_no_study(folder: Path) -> None:
    text = (folder / "out" / RESULTS_FILE).read_text()
    assert "DOE" not in text
    assert str(folder) not in text


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "out" / RESULTS_FILE).mkdir(parents=True)
    with pytest.raises(GlioserveError, match="cannot be written"):
        ResultStore(tmp_path / "out", small_cohort(tmp_path / "cohort"), MODEL, resume=True)


def refused(folder: Path, told: str, **options: object) -> None:
    with pytest.raises(GlioserveError, match=told) as caught:
        reopened(folder, **options)
    assert caught.value.code is ErrorCode.INVALID_COHORT
