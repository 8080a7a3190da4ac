"""One call as the application sees it: its spans, its counts, and its lines in the log ``glioserve_client``.

The log's records carry their values as attributes of their own too (``request_id``, ``outcome``, ``code``,
``attempts``, ``duration_s``, ``sent_bytes``, ``trace_id``), for formatters that write JSON.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from glioserve_client.telemetry.counts import ClientCounts
from glioserve_client.telemetry.spans import CallSpans
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.metrics import ABSTAINED, ANSWERED, outcome_of

LOG = logging.getLogger("glioserve_client")


class CallTelemetry:
    """Tells of one call; nothing in it can hold patient data."""

    def __init__(self, url: str, request_id: str, counts: ClientCounts | None) -> None:
        self.spans = CallSpans(url)
        self._request_id, self._counts = request_id, counts
        self._attempts = self._sent_bytes = 0
        self._answer = ANSWERED

    @contextmanager
    def call(self) -> Iterator[None]:
        """Tell of the block as of the whole call, however it ends."""
        started_s = time.monotonic()
        self.spans.begin(self._request_id)
        try:
            yield
        except BaseException as error:
            outcome, code = _outcome_of(error)
            self._ended(outcome, code, time.monotonic() - started_s, error)
            raise
        self._ended(self._answer, "", time.monotonic() - started_s, None)

    def begin_attempt(self) -> dict[str, str]:
        """Tell of an attempt that begins; return the header that it sends for its trace."""
        self._attempts += 1
        return self.spans.begin_attempt(self._attempts)

    def sent(self, size_bytes: int) -> None:
        """Tell the size of an attempt's request."""
        self._sent_bytes += size_bytes
        if self._counts is not None:
            self._counts.sent.inc(size_bytes)

    def answered(self, size_bytes: int, *, abstained: bool) -> None:
        """Tell of an attempt that brought the answer."""
        self._answer = ABSTAINED if abstained else ANSWERED
        if self._counts is not None:
            self._counts.received.inc(size_bytes)
        self.spans.end_attempt()

    def failed(self, error: GlioserveError) -> None:
        """Tell of an attempt that failed."""
        self.spans.end_attempt(error)

    def again(self, error: GlioserveError, pause_s: float) -> None:
        """Tell that another attempt follows one that failed."""
        if self._counts is not None:
            self._counts.retries.labels(error.token).inc()
        text = "request %s, attempt %d: %s; again in %.1f s"
        fields = {"request_id": self._request_id, "code": error.token, "attempts": self._attempts}
        LOG.info(text, self._request_id, self._attempts, error.token, pause_s, extra=self._traced(fields))

    def _ended(self, outcome: str, code: str, seconds: float, error: BaseException | None) -> None:
        if self._counts is not None:
            self._counts.ended(outcome, code, seconds)
        fields = {
            "request_id": self._request_id, "outcome": outcome, "code": code, "attempts": self._attempts,
            "duration_s": round(seconds, 3), "sent_bytes": self._sent_bytes,
        }  # fmt: skip
        what = f"{outcome} ({code})" if code else outcome
        LOG.info("request %s: %s in %.1f s", self._request_id, what, seconds, extra=self._traced(fields))
        self.spans.end(outcome, error)

    def _traced(self, fields: dict[str, object]) -> dict[str, object]:
        trace_id = self.spans.trace_id
        return fields if trace_id is None else {**fields, "trace_id": trace_id}


def _outcome_of(error: BaseException) -> tuple[str, str]:
    """Return outcome and code of a call that raised: a closed client and a cancelled task have no code."""
    if isinstance(error, GlioserveError):
        return outcome_of(error.code), error.token
    return outcome_of(ErrorCode.CANCELLED if isinstance(error, _GIVEN_UP) else ErrorCode.INTERNAL), ""


_GIVEN_UP = (asyncio.CancelledError, RuntimeError, KeyboardInterrupt, GeneratorExit)
