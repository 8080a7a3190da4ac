"""A small OTLP receiver: the spans that were sent to it over HTTP, as protobuf (Python) or as JSON (Triton).

with OtlpReceiver() as receiver:
    ...  # export to receiver.url
assert receiver.named("preprocess")
"""

from __future__ import annotations

import gzip
import json
import ssl
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Received:
    """One span, its identifiers as hexadecimal digits."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty for a root."""
    begin_unix_ns: int
    end_unix_ns: int
    attributes: dict[str, Any]
    failed: bool


class OtlpReceiver:
    """Receiver of spans. ``status`` is what it answers; while ``held`` is set it does not answer at all."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.spans: list[Received] = []
        self.bodies: list[bytes] = []
        """All that was sent, to be searched for what must not be there."""
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.go_on = threading.Event()
        self.go_on.set()
        self.asked = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver._take({name.lower(): value for name, value in self.headers.items()}, body)
                receiver.asked.set()
                receiver.go_on.wait(60)
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.base_url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"
        self.url = f"{self.base_url}/v1/traces"

    def __enter__(self) -> OtlpReceiver:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def of_trace(self, trace_id: str) -> dict[str, Received]:
        """Return the spans of a trace by name; a name that is there several times stands for its last span."""
        return {span.name: span for span in self.spans.copy() if span.trace_id == trace_id}

    def _take(self, headers: dict[str, str], body: bytes) -> None:
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.headers.append(headers)
        self.bodies.append(body)
        is_json = headers["content-type"].startswith("application/json")
        self.spans += _of_json(json.loads(body)) if is_json else _of_protobuf(body)


def _of_protobuf(body: bytes) -> list[Received]:
    found = []
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
        for scope in resource.scope_spans:
            for span in scope.spans:
                values = {a.key: getattr(a.value, str(a.value.WhichOneof("value"))) for a in span.attributes}
                ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                times = (span.start_time_unix_nano, span.end_time_unix_nano)
                found.append(Received(service, span.name, *ids, *times, values, span.status.code == 2))
    return found


def _of_json(body: dict[str, Any]) -> list[Received]:
    """OTLP's JSON has identifiers as hexadecimal digits, unlike protobuf's own JSON."""
    found = []
    for resource in body["resourceSpans"]:
        values = {a["key"]: a["value"] for a in resource["resource"]["attributes"]}
        service = values["service.name"]["stringValue"]
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                attributes = {a["key"]: next(iter(a["value"].values())) for a in span.get("attributes", [])}
                ids = (span["traceId"], span["spanId"], span.get("parentSpanId", ""))
                times = (int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"]))
                failed = span.get("status", {}).get("code") == 2
                found.append(Received(service, span["name"], *ids, *times, attributes, failed))
    return found
