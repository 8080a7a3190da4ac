"""The tree that the module draws is the tree that exists, and every code has its leaf."""

import pickle
import re
from pathlib import Path

import pytest

from glioserve_client import errors
from glioserve_client.errors import CodedError, error_for
from glioserve_contract import ErrorCode, GlioserveError, Retry

GROUP_OF_HUNDRED = {
    "11": errors.RequestError,
    "12": errors.DicomFileError,
    "13": errors.SeriesError,
    "14": errors.SliceGeometryError,
    "15": errors.RegistrationError,
    "16": errors.BrainError,
    "17": errors.IntensityError,
    "21": errors.ModelAnswerError,
    "31": errors.ServerError,
    "41": errors.TransportError,
    "51": errors.SetUpError,
}


def leaf_name(code: ErrorCode) -> str:
    return "".join(word.capitalize() for word in code.name.split("_")) + "Error"


@pytest.mark.parametrize("code", list(ErrorCode), ids=lambda code: code.name)
def test_every_code_has_one_leaf_of_its_name_in_its_group(code: ErrorCode) -> None:
    error = error_for(code, "What was found.")
    assert type(error).__name__ == leaf_name(code)
    assert type(error) is getattr(errors, leaf_name(code))
    assert isinstance(error, GROUP_OF_HUNDRED[code.token[5:7]])
    assert isinstance(error, errors.StudyError) == code.token.startswith("GLIO-1")
    assert error.code is code
    assert error.retryable == (code.row.retry is Retry.YES)
    assert str(error) == f"[{code.token}] What was found. {code.row.action}"
    assert type(error).__doc__ == f"{code.token}: {code.row.summary} {code.row.action}"


def test_the_default_detail_is_the_tables_summary() -> None:
    assert error_for(ErrorCode.NOT_MR).detail == ErrorCode.NOT_MR.row.summary


def test_the_drawn_tree_is_the_real_one() -> None:
    drawn: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^([ │├└─]*)([A-Z]\w+Error)\b", line)
        if not found:
            continue
        depth, name = len(found[1]), found[2]
        while stack and stack[-1][0] >= depth:
            stack.pop()
        drawn[name] = stack[-1][1] if stack else "Exception"
        stack.append((depth, name))
    classes = {
        name: item for name, item in vars(errors).items() if isinstance(item, type) and issubclass(item, GlioserveError)
    }
    assert drawn == {name: item.__bases__[0].__name__ for name, item in classes.items()}
    tokens = dict(re.findall(r"(\w+Error)\s+(GLIO-\d{4})", errors.__doc__ or ""))
    assert tokens == {leaf_name(code): code.token for code in ErrorCode}


def test_an_error_survives_the_way_between_processes() -> None:
    error = error_for(ErrorCode.UNAVAILABLE, "No server.")
    error.request_id, error.attempts, error.path = "abc", 3, Path("a")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is errors.UnavailableError
    assert (str(again), again.request_id, again.attempts, again.path) == (str(error), "abc", 3, Path("a"))


def test_caught_as_the_contracts_own() -> None:
    with pytest.raises(GlioserveError):
        raise error_for(ErrorCode.EMPTY_STUDY)
    assert issubclass(CodedError, GlioserveError)
