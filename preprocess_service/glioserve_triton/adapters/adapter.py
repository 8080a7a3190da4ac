"""Shared parts of the repository's Python models: one request in, tensors or a typed error out.

Triton's module (``triton_python_backend_utils``) exists only inside its stub process, so it is handed in.
"""

from __future__ import annotations

import os
import secrets
import time
import traceback
from collections.abc import Callable, Sequence
from typing import cast

from glioserve_contract import ErrorCode, GlioserveError, Status
from glioserve_contract.metrics import SERVER_CODES
from glioserve_triton.adapters.backend_api import BackendUtils, NamedTensor, Request, RequestError, Response
from glioserve_triton.adapters.heartbeat import own_heartbeat
from glioserve_triton.adapters.own_requests import is_own
from glioserve_triton.adapters.wanted import still_wanted
from glioserve_triton.tracing.requests import RequestTraces

CANARY_HOLD_S = 0.01
"""Time for which a canary keeps its process, so that those sent at once reach all processes of a model."""

Handler = Callable[[Request], Sequence[NamedTensor]]
"""Function from a request to its output tensors; it may raise :class:`GlioserveError`."""
Failed = Callable[[Request, ErrorCode], None]


def respond(
    pb_utils: BackendUtils, requests: Sequence[Request], handle: Handler, failed: Failed, traces: RequestTraces
) -> list[Response]:
    """Return a response for each request, never an exception: an uncaught one would carry a traceback.

    ``failed`` is called for each study that gets an error.
    """
    with own_heartbeat().busy():
        return [_respond_one(pb_utils, request, handle, failed, traces) for request in requests]


def _respond_one(
    pb_utils: BackendUtils, request: Request, handle: Handler, failed: Failed, traces: RequestTraces
) -> Response:
    if is_own(request):
        time.sleep(CANARY_HOLD_S)
        answer = pb_utils.TritonError(f"canary of process {os.getpid()}", pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(error=answer)
    with traces.request(request):
        return _answer(pb_utils, request, handle, failed, traces)


def _answer(
    pb_utils: BackendUtils, request: Request, handle: Handler, failed: Failed, traces: RequestTraces
) -> Response:
    try:
        still_wanted(request)()
        return pb_utils.InferenceResponse(output_tensors=list(handle(request)))
    except BaseException as error:  # noqa: BLE001 - see respond()
        ours = isinstance(error, GlioserveError) and error.code in SERVER_CODES
        known = cast(GlioserveError, error) if ours else incident(pb_utils, error, _unlogged(traces))
    failed(request, known.code)
    traces.ended(known.code)
    return pb_utils.InferenceResponse(error=triton_error(pb_utils, known))


def _unlogged(traces: RequestTraces) -> str:
    return f"its text is not logged; {traces.reference}"


def incident(pb_utils: BackendUtils, error: BaseException, text: str) -> GlioserveError:
    """Return an unknown error by number: the log has where it arose, and ``text``.

    The error's own text may hold patient data; a caller that knows better hands it in.
    """
    number = secrets.token_hex(4)
    frames = " < ".join(f"{f.filename}:{f.lineno}" for f in reversed(traceback.extract_tb(error.__traceback__)))
    pb_utils.Logger.log_error(f"incident {number}: {type(error).__name__} at {frames}: {text}")
    return GlioserveError(ErrorCode.INTERNAL, f"Incident {number}.")


def triton_error(pb_utils: BackendUtils, error: GlioserveError) -> RequestError:
    """Return the error as Triton's own, with the status of the table and the token in its message."""
    statuses = {
        Status.INVALID_ARG: pb_utils.TritonError.INVALID_ARG,
        Status.NOT_FOUND: pb_utils.TritonError.NOT_FOUND,
        Status.UNAVAILABLE: pb_utils.TritonError.UNAVAILABLE,
        Status.CANCELLED: pb_utils.TritonError.CANCELLED,
        Status.UNSUPPORTED: pb_utils.TritonError.UNSUPPORTED,
    }
    status = statuses.get(error.code.row.status, pb_utils.TritonError.INTERNAL)
    return pb_utils.TritonError(str(error), status)
