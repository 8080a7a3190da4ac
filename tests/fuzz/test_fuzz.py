"""Three hundred mutated studies end in an answer or a code, and the harness notices whatever does not."""

import pytest

from fuzz.__main__ import failure
from fuzz.cases import MUTATIONS
from fuzz.runner import Limits, run, table

SEED, CASES = 20, 300


@pytest.mark.slow
def test_mutated_studies_end_in_an_answer_or_a_code():
    found = list(run(range(CASES), SEED))
    failures = [failure(one, SEED) for one in found if one.outcome == "failed"]
    assert not failures, "\n".join(failures)
    rows = table(found)
    assert sum(row.cases for row in rows.values()) == CASES
    assert set(rows) == set(MUTATIONS)
    # a run that refuses all, or whose mutations harm nothing, would test little
    assert sum(row.answered for row in rows.values()) > CASES / 10
    assert len(set().union(*(row.refused for row in rows.values()))) > 15


@pytest.mark.long
def test_whatever_must_not_happen_is_noticed():
    """Each fault of :mod:`fuzz.faults` once, over two workers that die of some of them."""
    limits = Limits(seconds=3, memory_mib=700)
    found = {one.mutation: one for one in run(range(10), 7, limits=limits, module="fuzz.faults")}
    said = {
        "crash": "SIGSEGV",
        "hang": "no answer within 3 s",
        "memory": "over 700",
        "uncoded": "KeyError",
        "name in message": "names the patient",
        "name in log": "names the patient",
        "warning": "Invalid value for VR UI",
        "print": "something",
    }
    for name, detail in said.items():
        assert found[name].outcome == "failed", name
        assert detail in found[name].detail, name
    assert (found["refused"].outcome, found["refused"].detail) == ("refused", "GLIO-1103")
    assert found["answered"].outcome == "answered"
    assert "make fuzz SEED=7 CASE=0" in failure(found["crash"], 7)


@pytest.mark.slow
def test_a_case_is_the_same_in_every_process():
    """A case that failed can be run alone: the same words, and the same outcome."""
    numbers = range(40, 48)
    first, second = ({one.number: one for one in run(numbers, SEED, workers=n)} for n in (2, 1))
    assert {n: (f.mutation, f.said, f.outcome, f.detail) for n, f in first.items()} == {
        n: (f.mutation, f.said, f.outcome, f.detail) for n, f in second.items()
    }
