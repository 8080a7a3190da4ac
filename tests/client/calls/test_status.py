"""gRPC's statuses and the server's messages become the right exception, whatever stands around the token."""

import grpc
import pytest

from glioserve_client import errors
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
        ("INTERNAL", "in ensemble 'glioma', Stub process 'preprocess_0_0' is not healthy.", ErrorCode.STAGE_LOST),
        ("INTERNAL", "Stub process is not healthy.", ErrorCode.STAGE_LOST),
        ("INTERNAL", "in ensemble 'glioma', Failed to obtain the health mutex.", ErrorCode.STAGE_LOST),
        (
            "INTERNAL",
            "in ensemble 'glioma', Failed to increase the shared memory pool size for key '/glioserve' to 9 bytes.",
            ErrorCode.UNAVAILABLE,
        ),
        (
            "INTERNAL",
            "Failed to create new mapped region for the grown shared memory region '/glioserve'.",
            ErrorCode.UNAVAILABLE,
        ),
        ("INTERNAL", "no healthy upstream", ErrorCode.INTERNAL),
        ("DATA_LOSS", "", ErrorCode.INTERNAL),
        (None, None, ErrorCode.INTERNAL),
    ],
)
def test_without_a_token_the_status_decides(status: str | None, message: str | None, code: ErrorCode) -> None:
    error = error_from_status(f"StatusCode.{status}" if status else None, message)
    assert error.code is code
    assert (message or "no message").rstrip(".") in error.detail


@pytest.mark.parametrize(
    ("status", "message", "words"),
    [
        ("UNAUTHENTICATED", "no token", "credentials"),
        ("PERMISSION_DENIED", "RBAC: access denied", "access"),
        ("RESOURCE_EXHAUSTED", "SERVER: Received message larger than max (9 vs. 4)", "message limit"),
        ("RESOURCE_EXHAUSTED", "CLIENT: Received message larger than max (9 vs. 4)", "message limit"),
        ("RESOURCE_EXHAUSTED", "quota of the tenant is used up", "retry with backoff"),
        ("INVALID_ARGUMENT", "unexpected inference input 'X' for model 'glioma'", "a tensor"),
        ("INTERNAL", "Stub process 'preprocess' is not healthy.", "operator"),
    ],
)
def test_without_a_token_the_advice_fits_the_status(status: str, message: str, words: str) -> None:
    assert words in error_from_status(status, message).action


OLDER = "Series 2.25.1 is not there. An older piece of advice."
LATER = "Series 2.25.1 is not there. What to do: A later piece of advice."


@pytest.mark.parametrize("server", [OLDER, LATER])
@pytest.mark.parametrize("prefix", ["", "in ensemble 'glioma', ", "upstream: 502: in ensemble 'glioma', "])
def test_another_versions_advice_stands_alone(server: str, prefix: str) -> None:
    error = error_from_status("StatusCode.INVALID_ARGUMENT", f"{prefix}[GLIO-1304] {server}")
    assert type(error) is errors.UnknownSeriesError
    assert str(error) == f"[GLIO-1304] {server}"
    assert ErrorCode.UNKNOWN_SERIES.row.action not in str(error)


def test_an_older_servers_message_with_our_advice_has_it_once() -> None:
    action = ErrorCode.UNKNOWN_SERIES.row.action
    error = error_from_status("INVALID_ARGUMENT", f'proxy: "[GLIO-1304] Series 2.25.1 is not there. {action}" (400)')
    assert str(error) == f"[GLIO-1304] Series 2.25.1 is not there. What to do: {action}"


@pytest.mark.parametrize(
    ("status", "token", "family", "retryable"),
    [
        ("INVALID_ARGUMENT", "GLIO-1999", errors.StudyError, False),
        ("INVALID_ARGUMENT", "GLIO-1299", errors.DicomFileError, False),
        ("UNAVAILABLE", "GLIO-4199", errors.TransportError, True),
        ("UNAVAILABLE", "GLIO-3199", errors.ServerError, True),
        ("INTERNAL", "GLIO-3199", errors.ServerError, False),
        ("CANCELLED", "GLIO-3199", errors.ServerError, True),
        ("INVALID_ARGUMENT", "GLIO-6101", GlioserveError, False),
        (None, "GLIO-2199", errors.ModelAnswerError, False),
    ],
)
@pytest.mark.parametrize("text", ["Something new. What to do: Do that.", "Something new."])
def test_a_later_servers_code_is_of_its_family_with_the_servers_own_text(
    status: str | None, token: str, family: type[GlioserveError], retryable: bool, text: str
) -> None:
    error = error_from_status(status, f"in ensemble 'glioma', [{token}] {text}")
    assert type(error) is family
    assert str(error) == f"[{token}] {text}"
    assert (error.token, error.retryable) == (token, retryable)


def test_a_later_code_that_quotes_a_known_one_is_not_taken_for_it() -> None:
    error = error_from_status("INTERNAL", "[GLIO-5999] It was undone: [GLIO-5111] It ended.")
    assert (type(error), error.token) == (errors.SetUpError, "GLIO-5999")


@pytest.mark.parametrize("status", list(grpc.StatusCode), ids=lambda status: status.name)
def test_every_status_of_grpc_becomes_an_error(status: grpc.StatusCode) -> None:
    assert isinstance(error_from_status(str(status), "why"), GlioserveError)


def test_a_proxys_page_is_cut_to_one_printable_line() -> None:
    error = error_from_status("StatusCode.UNAVAILABLE", "<html>\n\x1b[31m" + "x" * 5000)
    assert "\n" not in str(error)
    assert "\x1b" not in str(error)
    assert len(str(error)) < 600
