"""Tests of programs that call glioserve, without a server: a fake transport, and an answer for every outcome.

    transport = FakeTransport(failure(ErrorCode.UNAVAILABLE), answer("recurrence"))
    with GliomaClient("fake:1", transport=transport) as client:
        assert client.predict(study).label is Label.RECURRENCE
    assert len(transport.requests) == 2

Requests and answers pass the client's own encoding, de-identification, retries and mapping of errors; only the
connection is missing. :mod:`glioserve_client.testing.plugin` has a fixture of pytest that starts a real server.
"""

from glioserve_client.testing.canned import OUTCOMES, WIRE_ERRORS, Answer, Failure, answer, failure, prediction
from glioserve_client.testing.fake import FakeTransport
from glioserve_client.testing.requests import ReceivedRequest

__all__ = [
    "OUTCOMES",
    "WIRE_ERRORS",
    "Answer",
    "Failure",
    "FakeTransport",
    "ReceivedRequest",
    "answer",
    "failure",
    "prediction",
]
