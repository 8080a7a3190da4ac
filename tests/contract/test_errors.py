"""The table of errors: complete, unique, found anywhere in a message."""

import pickle
import re

import pytest

from glioserve_contract import ErrorCode, GlioserveError, Retry, Status, find_code
from glioserve_contract.metrics import SERVER_CODES, outcome_of


def test_tokens_are_unique_and_well_formed():
    tokens = [code.token for code in ErrorCode]
    assert len(set(tokens)) == len(tokens)
    assert all(re.fullmatch(r"GLIO-[1-5]\d{3}", token) for token in tokens)
    assert tokens == sorted(tokens)


def test_every_row_says_what_it_is_and_what_to_do():
    for code in ErrorCode:
        assert code.row.summary.endswith(".")
        assert code.row.action.endswith(".")
        assert len(code.row.action) > 10


@pytest.mark.parametrize("code", ErrorCode)
def test_a_code_is_found_behind_an_ensembles_prefix(code):
    assert find_code(f"in ensemble 'glioma', {GlioserveError(code)}") is code


@pytest.mark.parametrize("message", ["", "GLIO-9999", "GLIO-12", "some other error"])
def test_no_code_is_no_code(message):
    assert find_code(message) is None


def test_an_error_carries_its_action_and_survives_a_pickle():
    error = GlioserveError(ErrorCode.TOO_FEW_SLICES, "The t1 series has 26 slices.")
    assert str(error).startswith("[GLIO-1303] The t1 series has 26 slices. ")
    assert ErrorCode.TOO_FEW_SLICES.row.action in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (again.code, again.detail, str(again)) == (error.code, error.detail, str(error))


def test_a_studys_own_fault_is_refused_and_never_worth_a_blind_retry():
    for code in SERVER_CODES:
        if outcome_of(code) == "refused":
            assert code.row.status is Status.INVALID_ARG
            assert code.row.retry is not Retry.YES


def test_outcomes():
    assert outcome_of(ErrorCode.NOT_DICOM) == "refused"
    assert outcome_of(ErrorCode.INTERNAL) == "failed"
    assert outcome_of(ErrorCode.UNKNOWN_MODEL) == "failed"
    assert outcome_of(ErrorCode.CANCELLED) == "cancelled"
