"""gRPC's statuses and the server's messages become the right exception, whatever stands around the token."""

import grpc
import pytest

from glioserve_client.errors import CodedError
from glioserve_client.status import error_from_status
from glioserve_contract import ErrorCode, GlioserveError


@pytest.mark.parametrize("code", list(ErrorCode), ids=lambda code: code.name)
@pytest.mark.parametrize("status", ["StatusCode.INVALID_ARGUMENT", "StatusCode.INTERNAL", None])
def test_a_token_decides_whatever_the_status(code: ErrorCode, status: str | None) -> None:
    raised_by_the_server = GlioserveError(code, "Found: t1, t2.")
    error = error_from_status(status, f"in ensemble 'glioma', {raised_by_the_server}")
    assert error.code is code
    assert error.detail == "Found: t1, t2."
    assert str(error) == str(raised_by_the_server)


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        ("UNAVAILABLE", "failed to connect to all addresses", ErrorCode.UNAVAILABLE),
        ("UNAVAILABLE", "Exceeds maximum queue size", ErrorCode.UNAVAILABLE),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", ErrorCode.DEADLINE_EXCEEDED),
        ("NOT_FOUND", "Request for unknown model: 'glioma' is not found", ErrorCode.NOT_SERVED),
        ("CANCELLED", "CANCELLED", ErrorCode.CANCELLED),
        ("INVALID_ARGUMENT", "unexpected inference input 'X' for model 'glioma'", ErrorCode.REQUEST_REFUSED),
        ("UNAUTHENTICATED", "no token", ErrorCode.REQUEST_REFUSED),
        ("PERMISSION_DENIED", "RBAC: access denied", ErrorCode.REQUEST_REFUSED),
        ("UNIMPLEMENTED", "unknown service inference.GRPCInferenceService", ErrorCode.UNEXPECTED_ANSWER),
        ("RESOURCE_EXHAUSTED", "SERVER: Received message larger than max (9 vs. 4)", ErrorCode.STUDY_TOO_LARGE),
        ("RESOURCE_EXHAUSTED", "Received message larger than max (9 vs. 4)", ErrorCode.STUDY_TOO_LARGE),
        ("RESOURCE_EXHAUSTED", "CLIENT: Sent message larger than max (9 vs. 4)", ErrorCode.STUDY_TOO_LARGE),
        ("RESOURCE_EXHAUSTED", "CLIENT: Received message larger than max (9 vs. 4)", ErrorCode.UNEXPECTED_ANSWER),
        ("RESOURCE_EXHAUSTED", "SERVER: Sent message larger than max (9 vs. 4)", ErrorCode.UNEXPECTED_ANSWER),
        ("RESOURCE_EXHAUSTED", "quota of the tenant is used up", ErrorCode.UNAVAILABLE),
        ("INTERNAL", "Stub process 'preprocess' is not healthy.", ErrorCode.INTERNAL),
        ("DATA_LOSS", "", ErrorCode.INTERNAL),
        (None, None, ErrorCode.INTERNAL),
        # A code of a later server that this client does not know: the status must do.
        ("INVALID_ARGUMENT", "[GLIO-1999] Something new.", ErrorCode.REQUEST_REFUSED),
    ],
)
def test_without_a_token_the_status_decides(status: str | None, message: str | None, code: ErrorCode) -> None:
    error = error_from_status(f"StatusCode.{status}" if status else None, message)
    assert error.code is code
    assert (message or "no message").rstrip(".") in error.detail


@pytest.mark.parametrize("status", list(grpc.StatusCode), ids=lambda status: status.name)
def test_every_status_of_grpc_becomes_an_error(status: grpc.StatusCode) -> None:
    assert isinstance(error_from_status(str(status), "why"), CodedError)


def test_a_proxys_page_is_cut_to_one_printable_line() -> None:
    error = error_from_status("StatusCode.UNAVAILABLE", "<html>\n\x1b[31m" + "x" * 5000)
    assert "\n" not in str(error)
    assert "\x1b" not in str(error)
    assert len(str(error)) < 600
