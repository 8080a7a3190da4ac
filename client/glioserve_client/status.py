"""Make the typed exception of gRPC's status and message: by our token if the message has one, else by the status."""

from __future__ import annotations

import re

from glioserve_contract import ErrorCode, GlioserveError, read_message
from glioserve_contract.errors import DEAD_STAGE, NO_SHARED_MEMORY

_BY_STATUS = {
    "INVALID_ARGUMENT": ErrorCode.REQUEST_REFUSED,
    "UNAUTHENTICATED": ErrorCode.REQUEST_REFUSED,
    "PERMISSION_DENIED": ErrorCode.REQUEST_REFUSED,
    "NOT_FOUND": ErrorCode.NOT_SERVED,
    "UNAVAILABLE": ErrorCode.UNAVAILABLE,
    "DEADLINE_EXCEEDED": ErrorCode.DEADLINE_EXCEEDED,
    "CANCELLED": ErrorCode.CANCELLED,
    # A gRPC server without KServe's inference service: another program listens there.
    "UNIMPLEMENTED": ErrorCode.UNEXPECTED_ANSWER,
}
_ACTIONS = {
    "UNAUTHENTICATED": "Send the credentials that the server, or a proxy before it, asks for (headers, TLS).",
    "PERMISSION_DENIED": "Ask the operator of the server, or of a proxy before it, for access.",
    "RESOURCE_EXHAUSTED": "Send only the recipe's series, ask for no heat map, or have the message limit raised.",
}
"""Actions for the statuses that are narrower than the table's code."""
_OVER_MESSAGE_LIMIT = re.compile(r"larger than max", re.IGNORECASE)
_ANSWER_OVER_LIMIT = re.compile(r"CLIENT: Received|SERVER: Sent")
_UNKNOWN_MODEL = re.compile(r"unknown model: '[^']*' is not found")
_LONGEST_FOREIGN_TEXT = 300
"""Characters kept of a message that is not ours: a proxy may answer with a page."""


def error_from_status(status: str | None, message: str | None) -> GlioserveError:
    """Return the exception for a failed call.

    A code that this client does not know becomes its family's class, with the server's own text; ``code``, and with
    it ``retryable``, are then those of the status.

    Args:
        status: gRPC's status name, with or without ``StatusCode.``; None when the call never got one.
        message: the status' details.
    """
    name, text = (status or "").rpartition(".")[2], message or ""
    ours = read_message(text)
    if ours is None:
        code = _code_of_status(name, text)
        action = None if code is ErrorCode.UNAVAILABLE else _ACTIONS.get(name)
        return GlioserveError(code, f"{name or 'No status'}: {_foreign(text)}", action)
    return GlioserveError(ours.code or _code_of_status(name, text), ours.detail, ours.action, ours.token)


def is_unknown_model(error: GlioserveError) -> bool:
    """Return whether Triton says that it has never loaded the model; of one that drains it says otherwise."""
    return _UNKNOWN_MODEL.search(error.detail) is not None


def _code_of_status(name: str, text: str) -> ErrorCode:
    if name == "INTERNAL" and DEAD_STAGE.search(text):
        return ErrorCode.STAGE_LOST
    if name == "INTERNAL" and NO_SHARED_MEMORY.search(text):
        return ErrorCode.UNAVAILABLE  # full of other studies, or of what else is in it
    if name == "RESOURCE_EXHAUSTED":
        if not _OVER_MESSAGE_LIMIT.search(text):
            return ErrorCode.UNAVAILABLE  # a quota or a full server
        return ErrorCode.UNEXPECTED_ANSWER if _ANSWER_OVER_LIMIT.search(text) else ErrorCode.STUDY_TOO_LARGE
    return _BY_STATUS.get(name, ErrorCode.INTERNAL)


def _foreign(text: str) -> str:
    line = " ".join(text.split())
    kept = "".join(c for c in line if c.isprintable())[:_LONGEST_FOREIGN_TEXT]
    return kept if kept.endswith((".", "!", "?")) else f"{kept or 'no message'}."
