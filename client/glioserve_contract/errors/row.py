"""The columns of the table of errors: gRPC status, whether a retry helps, what the code means and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Status(str, Enum):
    """Triton's status codes that we use; the value is gRPC's name of each."""

    INVALID_ARG = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"
    CANCELLED = "CANCELLED"
    UNSUPPORTED = "UNIMPLEMENTED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "PERMISSION_DENIED"
    EXHAUSTED = "RESOURCE_EXHAUSTED"
    DEADLINE = "DEADLINE_EXCEEDED"
    """Status that only the caller's side raises: Triton has no such status of its own."""


class Retry(str, Enum):
    """Kinds of advice on sending the same request again, or running the same command again."""

    NO = "no"
    AFTER_FIX = "after a fix"
    YES = "yes, with backoff"


@dataclass(frozen=True)
class ErrorRow:
    """One line of the table: ``summary`` is what the code means, ``action`` what to do about it."""

    token: str
    status: Status
    retry: Retry
    summary: str
    action: str
