"""One request of a Python model as a span with its stages below, and as one line of the log with the trace's id.

Nothing of a patient is in either: names of models and stages, times, outcomes, codes, and the caller's request id, or
its digest where it is not a plain word.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from glioserve_contract import ErrorCode
from glioserve_contract.metrics import outcome_of
from glioserve_contract.records.studies.study import plain_request_id
from glioserve_triton.adapters.backend_api import Request
from glioserve_triton.tracing.options import TRACES_URL

if TYPE_CHECKING:  # its packages are needed only where traces are exported
    from opentelemetry.trace import Span, Tracer

    from glioserve_triton.tracing.outbox import Outbox

DONE = "done"
"""Outcome of a request that the model answered; the others are those of the metrics."""
_TRACE_PARENT = re.compile(r'"traceparent" ?: ?"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})"')
_SAMPLED = 1
"""Flag of a span whose caller asks for its trace."""
_LEVELS = {"failed": "error", DONE: "info"}


@dataclass(frozen=True)
class Parent:
    """The span that a request of a model belongs to: Triton's, or the caller's own."""

    trace_id: str
    span_id: str
    flags: int


def parent_of(request: Request) -> Parent | None:
    """Return the span that the model's own belongs below; None where the request is not traced.

    It is Triton's of the model's step, which Triton tells since release 24.06 (``request.trace().get_context()``), in
    opentelemetry's mode alone. Triton 2.51 overlooks the caller's header in about 3 of 100 requests, and then makes no
    span or one of another trace: there it is the caller's.
    """
    trace = getattr(request, "trace", None)
    get_context = getattr(trace() if trace is not None else None, "get_context", None)
    triton = _parent_in(get_context() if get_context is not None else None)
    caller = _parent_in(request.parameters())
    if caller is None or not caller.flags & _SAMPLED or (triton is not None and triton.trace_id == caller.trace_id):
        return triton
    return caller


def _parent_in(text: str | None) -> Parent | None:
    match = _TRACE_PARENT.search(text or "")
    return Parent(match[1], match[2], int(match[3], 16)) if match else None


class RequestTraces:
    """The spans and log lines of one model; a process of it works on one request at a time."""

    def __init__(self, model: str, gone: Callable[[str, int, int], None]) -> None:
        """Open the export where the server's environment names a receiver.

        ``gone`` is called with the model and the numbers of spans that were exported and dropped, after each request:
        here and not by the exporter's thread, since Triton's metrics belong to the process's first.
        """
        self._model, self._gone = model, gone
        self._tracer: Tracer | None = None
        self._outbox: Outbox | None = None
        self._span: Span | None = None
        self._outcome = self._code = ""
        self.reference = ""
        """Names of the request at hand, for further lines about it: its id and its trace's."""
        if url := os.environ.get(TRACES_URL):
            from glioserve_triton.tracing.outbox import open_outbox

            self._tracer, self._outbox = open_outbox(url)

    @contextmanager
    def request(self, request: Request) -> Iterator[None]:
        """Make a span of the block and log its end; :meth:`ended` may say meanwhile how it ends."""
        parent, request_id, started_s = parent_of(request), plain_request_id(request.request_id()), time.monotonic()
        self._outcome, self._code = DONE, ""
        self.reference = f"request {request_id or '-'}, trace {parent.trace_id if parent else '-'}"
        self._span = self._begun(parent, request_id)
        try:
            yield
        finally:
            span, self._span = self._span, None
            if span is not None:
                _end(span, self._outcome, self._code)
            self._log(request_id, parent, time.monotonic() - started_s)
            if self._outbox is not None:
                self._gone(self._model, *self._outbox.taken())

    def ended(self, code: ErrorCode) -> None:
        """Say that the request at hand ends by an error."""
        self._outcome, self._code = outcome_of(code), code.token

    def stage(self, name: str, begin_unix_ns: int, end_unix_ns: int) -> None:
        """Make a span of a stage that has just ended, below the request's."""
        if self._span is not None and self._tracer is not None:
            from opentelemetry.trace import set_span_in_context

            context = set_span_in_context(self._span)
            stage = self._tracer.start_span(f"glioserve.{self._model}.{name}", context, start_time=begin_unix_ns)
            stage.end(end_unix_ns)

    def close(self) -> None:
        """Send what waits, for a bounded time."""
        if self._outbox is not None:
            self._outbox.shutdown()

    def _begun(self, parent: Parent | None, request_id: str) -> Span | None:
        if self._tracer is None or parent is None:
            return None
        from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

        context = SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), True, TraceFlags(parent.flags))
        return self._tracer.start_span(
            f"glioserve.{self._model}",
            set_span_in_context(NonRecordingSpan(context)),
            attributes={"glioserve.request_id": request_id} if request_id else {},
        )

    def _log(self, request_id: str, parent: Parent | None, seconds: float) -> None:
        """Write a line to the server's log, in one piece: other processes write there too.

        It begins on a line of its own, since Triton and its libraries write some of their lines in pieces.
        """
        record: dict[str, Any] = {
            "time": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "level": _LEVELS.get(self._outcome, "warning"),
            "source": self._model,
            "message": f"request {self._outcome}",
            "request_id": request_id or None,
            "trace_id": parent.trace_id if parent else None,
            "code": self._code or None,
            "seconds": round(seconds, 3),
        }
        line = "\n" + json.dumps({name: value for name, value in record.items() if value is not None}) + "\n"
        with suppress(OSError):  # the reader of the log has gone, and the server ends
            sys.stderr.write(line)
            sys.stderr.flush()


def _end(span: Span, outcome: str, code: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("glioserve.outcome", outcome)
    if code:
        span.set_attribute("error.type", code)
    if outcome == "failed":
        span.set_status(StatusCode.ERROR)
    span.end()
