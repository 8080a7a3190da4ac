"""Probes over HTTP: ``/startupz``, ``/livez`` and ``/readyz`` for Kubernetes, ``/metrics`` for Prometheus.

A probe answers 200 or 503, with the reasons as plain text. Nothing of a study is ever in an answer.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from prometheus_client.exposition import CONTENT_TYPE_LATEST

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_triton.supervisor.health import Health

SOCKET_TIMEOUT_S = 5.0
"""A caller that sends nothing is cut off after so long."""
_REQUEST_QUEUE = 64


class ProbeServer:
    """The probes of one server on a port of their own; a context manager."""

    def __init__(self, host: str, port: int, health: Health, metrics: Callable[[], bytes]) -> None:
        """Bind the port at once; GLIO-5111 where that cannot be done. ``metrics`` returns Prometheus' text."""
        handler = type("Handler", (_Handler,), {"health": health, "metrics": staticmethod(metrics)})
        server = type("Server", (_Server,), {"address_family": socket.AF_INET6 if ":" in host else socket.AF_INET})
        try:
            self._server: ThreadingHTTPServer = server((host, port), handler)
        except OSError as error:
            raise GlioserveError(
                ErrorCode.SERVER_FAILED, f"The probes' port {port} cannot be bound on {host}: {error.strerror}."
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="probes", daemon=True)

    @property
    def port(self) -> int:
        """The port, also where 0 was asked for."""
        return int(self._server.server_address[1])

    def __enter__(self) -> ProbeServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = _REQUEST_QUEUE


class _Handler(BaseHTTPRequestHandler):
    health: Health
    metrics: Callable[[], bytes]
    timeout = SOCKET_TIMEOUT_S
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "glioserve", ""

    def do_GET(self) -> None:
        """Answer one of the four paths."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(HTTPStatus.OK, self.metrics(), CONTENT_TYPE_LATEST)
            return
        checks: dict[str, Callable[[], tuple[str, ...]]] = {
            "/startupz": lambda: () if self.health.started else ("the server is starting",),
            "/livez": lambda: () if self.health.is_live() else ("the server cannot be repaired",),
            "/readyz": self.health.not_ready_because,
        }
        if path not in checks:
            self._answer(HTTPStatus.NOT_FOUND, b"not found\n")
            return
        reasons = checks[path]()
        status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
        self._answer(status, "".join(f"{line}\n" for line in reasons or ("ok",)).encode())

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: probes come every few seconds."""
