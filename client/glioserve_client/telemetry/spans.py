"""Spans of one call by OpenTelemetry, where the application has set it up.

OpenTelemetry is never imported here: an application with a provider of its own has imported it already. Without it, and
where a call is not recorded, nothing is made and no header is sent.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from glioserve_client.calls.version import __version__
from glioserve_contract import GlioserveError

TRACE_PARENT = "traceparent"
"""W3C's header: https://www.w3.org/TR/trace-context/."""
_METHOD = "inference.GRPCInferenceService/ModelInfer"
_SCOPE = "glioserve_client"


class CallSpans:
    """The spans of one call: ``glioserve.predict``, its stages, and one for each attempt.

    The parent is the span that is current where the call is made, whatever thread then does the work.
    """

    def __init__(self, url: str) -> None:
        self._api: Any = sys.modules.get("opentelemetry.trace")
        self._call: Any = None
        self._stage: Any = None
        self._attempt: Any = None
        if self._api is not None:
            self._tracer = self._api.get_tracer(_SCOPE, __version__)
            self._parent = sys.modules["opentelemetry.context"].get_current()
            self._server = {"server.address": url}

    @property
    def trace_id(self) -> str | None:
        """Identifier of the call's trace; None where the call is not recorded."""
        return f"{self._call.get_span_context().trace_id:032x}" if self._call is not None else None

    def begin(self, request_id: str) -> None:
        """Begin the span of the call."""
        if self._api is None:
            return
        attributes = {"glioserve.request_id": request_id, **self._server}
        span = self._tracer.start_span("glioserve.predict", self._parent, attributes=attributes)
        if span.is_recording() and span.get_span_context().trace_flags.sampled:
            self._call = span
        else:
            span.end()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Make a span of the block below that of the call, or of the stage around it."""
        outer, self._stage = self._stage, self._below(f"glioserve.{name}")
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            span, self._stage = self._stage, outer
            self._end(span, error)

    def begin_attempt(self, number: int) -> dict[str, str]:
        """Begin the span of an attempt; return the header by which the server continues the trace."""
        self._attempt = self._below(
            _METHOD,
            kind="CLIENT",
            **{"rpc.system": "grpc", "rpc.service": _METHOD.split("/")[0], "rpc.method": "ModelInfer"},
            **{"glioserve.attempt": number, **(self._server if self._api is not None else {})},
        )
        if self._attempt is None:
            return {}
        context = self._attempt.get_span_context()
        return {TRACE_PARENT: f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"}

    def end_attempt(self, error: BaseException | None = None) -> None:
        """End the span of the attempt, where one is open."""
        span, self._attempt = self._attempt, None
        self._end(span, error)

    def end(self, outcome: str, error: BaseException | None = None) -> None:
        """End the span of the call, and that of an attempt that is still open."""
        self.end_attempt(error)
        span, self._call = self._call, None
        if span is not None:
            span.set_attribute("glioserve.outcome", outcome)
        self._end(span, error)

    def _below(self, name: str, kind: str = "INTERNAL", **attributes: Any) -> Any:
        if self._call is None:
            return None
        context = self._api.set_span_in_context(self._stage or self._call)
        return self._tracer.start_span(name, context, kind=self._api.SpanKind[kind], attributes=attributes)

    def _end(self, span: Any, error: BaseException | None) -> None:
        """End a span. Of an error it has the code or the type, never the text."""
        if span is None:
            return
        if error is not None:
            span.set_attribute("error.type", error.token if isinstance(error, GlioserveError) else type(error).__name__)
            span.set_status(self._api.StatusCode.ERROR)
        span.end()
