"""Arguments that a client is made with, checked: the same for both."""

from __future__ import annotations

import math
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real

from glioserve_client.calls.budget import RetryBudget
from glioserve_client.options import ConnectionOptions, RetryPolicy, TlsOptions, check_headers, check_url
from glioserve_client.reachability import connection_fault
from glioserve_client.status import error_from_status, is_unknown_model
from glioserve_client.telemetry.counts import ClientCounts
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.metrics import CALLER_NAME
from glioserve_contract.tensors import CALLER_PARAMETER, ENSEMBLE

Metadata = tuple[tuple[str, str], ...]
"""Names and values of gRPC's metadata."""
_AUTHORIZATION = "authorization"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
LONGEST_TIMEOUT_S = 365 * 86400.0
"""Longest time that a call may be given."""

_NEEDED: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "url": (str, "the text HOST:PORT"),
    "tls": ((TlsOptions, type(None)), "TlsOptions(...), or None for plain text"),
    "retry": (RetryPolicy, "a RetryPolicy"),
    "model_name": (str, "a text"),
    "identified": (bool, "True or False"),
    "connection": (ConnectionOptions, "ConnectionOptions(...)"),
}
"""Types of a client's arguments and their words. A text such as "no" would be true, and send names and all."""


@dataclass
class Clocks:
    """Comparison of the server's clock with this machine's, as far as calls have shown it."""

    agree: bool = True
    """False once the server dropped a request whose deadline had not passed by this machine's clock."""


@dataclass(frozen=True)
class Settings:
    """Arguments of a client. Raises ValueError for a malformed one and InvalidTlsError for a TLS file."""

    url: str
    timeout_s: float
    tls: TlsOptions | None
    retry: RetryPolicy
    model_name: str
    identified: bool
    headers: Mapping[str, str]
    connection: ConnectionOptions
    token: Callable[[], str] | None = field(default=None, repr=False)
    caller: str | None = None
    counts: ClientCounts | None = field(default=None, repr=False)
    budget: RetryBudget = field(init=False, repr=False)
    clocks: Clocks = field(init=False, repr=False, default_factory=Clocks)
    process: int = field(init=False, default_factory=os.getpid)

    def __post_init__(self) -> None:
        for name, (kinds, needed) in _NEEDED.items():
            if not isinstance(value := getattr(self, name), kinds):
                raise TypeError(f"{name} must be {needed}, not {type(value).__name__}")
        if not self.model_name:
            raise ValueError("model_name must not be empty")
        if self.token is not None and not callable(self.token):
            raise TypeError("token must be a function that returns the token; a token that stays is a header")
        check_url(self.url)
        positive(self.timeout_s)
        named = {} if self.caller is None else {CALLER_PARAMETER: checked_caller(self.caller)}
        object.__setattr__(self, "headers", {**check_headers(self.headers), **named})
        if self.token is not None and _AUTHORIZATION in self.headers:
            raise ValueError("token makes the header authorization: give one of the two")
        object.__setattr__(self, "budget", RetryBudget(self.retry.most_a_minute))
        if self.tls is not None:
            self.tls.check_files()

    def check_process(self, kind: str) -> None:
        """Raise RuntimeError in another process than the one that made the client: gRPC does not survive a fork."""
        if os.getpid() != self.process:
            raise RuntimeError(f"a {kind} does not survive a fork: make one in each process")

    def metadata(self, headers: Mapping[str, str] | None = None, traced: Mapping[str, str] | None = None) -> Metadata:
        """Return the metadata of one attempt: the client's headers, ``headers``, and the token of the moment.

        ``traced`` continues the client's own trace, unless the caller's headers name another.

        Raises:
            ValueError: the provider's token is empty or not printable ASCII. What the provider raises is raised on.
            TypeError: the provider returned something else than a text.
        """
        token = {} if self.token is None else check_headers({_AUTHORIZATION: f"Bearer {_checked_token(self.token())}"})
        return tuple({**(traced or {}), **self.headers, **token, **(headers or {})}.items())

    def failure(self, status: str, details: str) -> GlioserveError:
        """Return the typed error of a failed call, and what is wrong with the connection where waiting cannot help."""
        failure = error_from_status(status, details)
        if failure.code is ErrorCode.UNAVAILABLE:
            return connection_fault(self.url, self.tls, failure.detail) or failure
        if failure.code is ErrorCode.NOT_SERVED and self.model_name != ENSEMBLE.name and is_unknown_model(failure):
            return GlioserveError(
                ErrorCode.REQUEST_REFUSED,
                f"The server has no model {self.model_name!r}.",
                f"Correct the model's name; glioserve's own is {ENSEMBLE.name!r}.",
            )
        return failure


def _checked_token(token: object) -> str:
    """Return a provider's token without the line break that files of tokens end with."""
    if not isinstance(token, str):
        raise TypeError(f"the function token must return a text, not {type(token).__name__}")
    if not (stripped := token.strip()):
        raise ValueError("the function token returned an empty text")
    return stripped


def positive(timeout_s: float) -> float:
    """Return a number of seconds.

    Raises:
        ValueError: it is not positive, or more than a year, which gRPC's clocks may not hold: such a call would end at
            once.
        TypeError: it is not a number.
    """
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, Real):
        raise TypeError(f"timeout_s must be a number of seconds, not {type(timeout_s).__name__}")
    if not (math.isfinite(timeout_s) and timeout_s > 0):
        raise ValueError("timeout_s must be a positive number of seconds")
    if timeout_s > LONGEST_TIMEOUT_S:
        raise ValueError(f"timeout_s must be at most {LONGEST_TIMEOUT_S:.0f} seconds, a year")
    return float(timeout_s)


def checked_caller(caller: str) -> str:
    """Return the caller's name. Raises ValueError where no server could count it."""
    if not isinstance(caller, str) or CALLER_NAME.fullmatch(caller) is None:
        raise ValueError("caller must be 1 to 64 letters, digits, '.', '_' or '-'")
    return caller


def checked_request_id(request_id: str | None) -> str:
    """Return the identifier, a random one for None. Raises ValueError for one of another form."""
    if request_id is None:
        return secrets.token_hex(16)
    if not isinstance(request_id, str) or _REQUEST_ID.fullmatch(request_id) is None:
        raise ValueError("request_id must be 1 to 64 letters, digits, '.', '_' or '-'")
    return request_id
