"""The check that a request is still worth working on: not cancelled, not past its deadline, not over the time limit."""

from __future__ import annotations

import time

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.limits import CLOCK_TOLERANCE_S, MAX_STUDY_S
from glioserve_contract.parameters import parse_parameters
from glioserve_contract.tensors import DEADLINE_PARAMETER
from glioserve_preprocess.stopwatch import Check
from glioserve_triton.adapters.backend_api import Request


def still_wanted(request: Request) -> Check:
    """Return the check of a request, whose work begins now; it may be called often, and from any thread.

    The check raises GLIO-3102 where the caller has left, GLIO-3104 where the deadline that the request states passed,
    and GLIO-3105 where the work has taken too long. An ensemble tells a step that its caller has left only before the
    step starts; the deadline ends what runs.

    Raises:
        GlioserveError: GLIO-1110 for request parameters that the contract does not have.
    """
    deadline_unix_ms = parse_parameters(request.parameters()).get(DEADLINE_PARAMETER)
    started_s = time.monotonic()

    def check() -> None:
        if request.is_cancelled():
            raise GlioserveError(ErrorCode.CANCELLED)
        if deadline_unix_ms is not None and time.time() > deadline_unix_ms / 1000 + CLOCK_TOLERANCE_S:
            raise GlioserveError(ErrorCode.DEADLINE_PASSED)
        if time.monotonic() - started_s > MAX_STUDY_S:
            raise GlioserveError(
                ErrorCode.STUDY_TIMEOUT, f"The study was not done after {MAX_STUDY_S:g} s, the most for any."
            )

    return check
