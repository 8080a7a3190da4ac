"""The client's exceptions are the contract's: every class by its name, and the earlier base by its own."""

import pytest

import glioserve_client
from glioserve_client import errors
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.errors import classes
from glioserve_contract.errors.base import class_of

FAMILIES = """StudyError RequestError DicomFileError SeriesError SliceGeometryError RegistrationError BrainError
IntensityError ModelAnswerError ServerError TransportError SetUpError""".split()


@pytest.mark.parametrize("code", list(ErrorCode), ids=lambda code: code.name)
def test_every_class_of_a_code_is_here(code: ErrorCode) -> None:
    assert getattr(errors, class_of(code).__name__) is class_of(code)


def test_the_families_and_both_names_of_the_base_are_here() -> None:
    assert {*FAMILIES, "GlioserveError", "CodedError", *classes.__all__} == set(errors.__all__)
    assert errors.CodedError is errors.GlioserveError is GlioserveError
    assert all(getattr(glioserve_client, name) is getattr(errors, name) for name in ("StudyError", "SetUpError"))


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError):
        errors.NoSuchError  # noqa: B018
