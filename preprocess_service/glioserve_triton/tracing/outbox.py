"""Spans on their way to the receiver: a bounded queue in front of OpenTelemetry's exporter, whose losses are counted.

Nothing here makes a study wait: a span that finds the queue full is dropped, the exporter works in its own thread, and
the end of a process waits for it for :data:`FLUSH_S` at most.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace import Tracer

from glioserve_triton.tracing.options import EXPORT_EVERY_S, MOST_WAITING, SERVICE, SERVICE_NAME, TraceExport

FLUSH_S = 1.0
"""Longest time that a process waits at its end for spans to be sent."""
_BATCH = 512


class Outbox(SpanProcessor):
    """Spans that wait for ``exporter``, at most :data:`MOST_WAITING`, and counts of those that are gone."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._lock = threading.Lock()
        self._waiting = self._exported = self._dropped = 0
        self._batches = BatchSpanProcessor(
            _Counted(exporter, self),
            max_queue_size=2 * MOST_WAITING,  # never full: the bound is this class's, which counts
            schedule_delay_millis=EXPORT_EVERY_S * 1000,
            max_export_batch_size=_BATCH,
        )

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Do nothing: spans are sent when they have ended."""

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span, or drop it where too many wait."""
        with self._lock:
            if self._waiting >= MOST_WAITING:
                self._dropped += 1
                return
            self._waiting += 1
        self._batches.on_end(span)

    def gone(self, count: int, *, exported: bool) -> None:
        """Count spans that were sent, or that the receiver did not take."""
        with self._lock:
            self._waiting -= count
            self._exported += count if exported else 0
            self._dropped += 0 if exported else count

    def taken(self) -> tuple[int, int]:
        """Return how many spans were exported and dropped since the last call."""
        with self._lock:
            counts = self._exported, self._dropped
            self._exported = self._dropped = 0
        return counts

    def shutdown(self) -> None:
        """Send what waits, for :data:`FLUSH_S` at most; what then remains ends with the process."""
        flush = threading.Thread(target=self._batches.shutdown, daemon=True)
        flush.start()
        flush.join(FLUSH_S)


class _Counted(SpanExporter):
    """An exporter that tells its outbox what became of each batch."""

    def __init__(self, exporter: SpanExporter, outbox: Outbox) -> None:
        self._exporter, self._outbox = exporter, outbox

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self._outbox.gone(len(spans), exported=result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def open_outbox(url: str) -> tuple[Tracer, Outbox]:
    """Return a tracer and the queue of its spans to ``url``; headers and certificates are those of the environment.

    A span is made only below one that is sampled: Triton decides which studies are traced.
    """
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)  # a batch that is lost, and not each attempt at it
    outbox = Outbox(OTLPSpanExporter(endpoint=url))
    resource = Resource.create({"service.name": os.environ.get(SERVICE_NAME, SERVICE)})
    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF), resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(outbox)
    return provider.get_tracer("glioserve"), outbox


def open_provider(export: TraceExport) -> tuple[TracerProvider, Outbox]:
    """Return a provider for a program that calls servers, and the queue of its spans: here the traces begin."""
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
    outbox = Outbox(OTLPSpanExporter(endpoint=export.url))
    sampler = ParentBased(TraceIdRatioBased(export.ratio))
    provider = TracerProvider(
        sampler=sampler, resource=Resource.create({"service.name": export.service}), shutdown_on_exit=False
    )
    provider.add_span_processor(outbox)
    return provider, outbox
