"""A call that failed, for scripts: an exit code by kind of failure, and the error as an object of JSON."""

from __future__ import annotations

from collections.abc import Iterable

from glioserve_client.errors import StudyError, TransportError
from glioserve_contract import GlioserveError

OTHER, USAGE, TRY_AGAIN, STUDY, CONNECTION = 1, 2, 3, 4, 5
EXIT_CODES = {
    0: "every study was answered; a label may be missing where the server abstained",
    OTHER: "the server, the model or the installation is at fault, and sending the study again does not help",
    USAGE: "wrong arguments",
    TRY_AGAIN: "nothing is wrong with the study: send it again later",
    STUDY: "the study must change before it is sent again",
    CONNECTION: "the address, the credentials or the TLS settings must change",
}
"""Exit codes of ``glioserve predict``, as ``docs/errors.md`` has them."""


def exit_code(error: Exception) -> int:
    """Return the exit code of one failed study."""
    if not isinstance(error, GlioserveError):
        return USAGE
    if error.retryable:
        return TRY_AGAIN
    if isinstance(error, StudyError):
        return STUDY
    return CONNECTION if isinstance(error, TransportError) else OTHER


def exit_code_of_many(errors: Iterable[Exception]) -> int:
    """Return 0 without errors, 3 where sending again may mend all of them, else that of the first it cannot mend."""
    codes = [exit_code(error) for error in errors]
    return next((code for code in codes if code != TRY_AGAIN), TRY_AGAIN if codes else 0)


def as_json(error: Exception) -> dict[str, object]:
    """Return the error as an object; a file's path is not in it, since a path may carry a patient's name."""
    if not isinstance(error, GlioserveError):
        detail = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return {"code": "", "detail": detail, "action": "", "retry": "no", "request_id": "", "attempts": 0}
    return {
        "code": error.token,
        "detail": error.detail,
        "action": error.action,
        "retry": error.code.row.retry.value,
        "request_id": error.request_id,
        "attempts": error.attempts,
    }
