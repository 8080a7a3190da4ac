"""From what gRPC says to the typed exception: our token if the message has one, else the status.

An ensemble prefixes a step's message and a proxy may wrap it, so the token is searched for, never anchored.
"""

from __future__ import annotations

import re

from glioserve_client.errors import CodedError, error_for
from glioserve_contract import ErrorCode, find_code

_BY_STATUS = {
    "INVALID_ARGUMENT": ErrorCode.REQUEST_REFUSED,
    "UNAUTHENTICATED": ErrorCode.REQUEST_REFUSED,
    "PERMISSION_DENIED": ErrorCode.REQUEST_REFUSED,
    "NOT_FOUND": ErrorCode.NOT_SERVED,
    "UNAVAILABLE": ErrorCode.UNAVAILABLE,
    "DEADLINE_EXCEEDED": ErrorCode.DEADLINE_EXCEEDED,
    "CANCELLED": ErrorCode.CANCELLED,
    # A gRPC server without KServe's inference service: some other program listens there.
    "UNIMPLEMENTED": ErrorCode.UNEXPECTED_ANSWER,
}
_OVER_MESSAGE_LIMIT = re.compile(r"larger than max", re.IGNORECASE)
_ANSWER_OVER_LIMIT = re.compile(r"CLIENT: Received|SERVER: Sent")
_LONGEST_FOREIGN_TEXT = 300
"""Characters kept of a message that is not ours: a proxy may answer with a page."""


def error_from_status(status: str | None, message: str | None) -> CodedError:
    """The exception for a failed call.

    Args:
        status: gRPC's status name, with or without ``StatusCode.``; None when the call never got one.
        message: the status' details.
    """
    name, text = (status or "").rpartition(".")[2], message or ""
    code = find_code(text)
    if code is not None:
        return error_for(code, _our_detail(text, code))
    return error_for(_code_of_status(name, text), f"{name or 'No status'}: {_foreign(text)}")


def _code_of_status(name: str, text: str) -> ErrorCode:
    if name == "RESOURCE_EXHAUSTED":
        if not _OVER_MESSAGE_LIMIT.search(text):
            return ErrorCode.UNAVAILABLE  # a quota or a full server
        return ErrorCode.UNEXPECTED_ANSWER if _ANSWER_OVER_LIMIT.search(text) else ErrorCode.STUDY_TOO_LARGE
    return _BY_STATUS.get(name, ErrorCode.INTERNAL)


def _our_detail(text: str, code: ErrorCode) -> str:
    """What the server found, without the ensemble's prefix, the token and the action (which is added again)."""
    _, _, detail = text.partition(code.token)
    return detail.removeprefix("]").strip().removesuffix(code.row.action).strip()


def _foreign(text: str) -> str:
    line = " ".join(text.split())
    kept = "".join(c for c in line if c.isprintable())[:_LONGEST_FOREIGN_TEXT]
    return kept if kept.endswith((".", "!", "?")) else f"{kept or 'no message'}."
