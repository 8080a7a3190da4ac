"""An HTTP server at a port where a gRPC server was meant to be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def http_server() -> Iterator[int]:
    """Yield the port of an HTTP server on 127.0.0.1 that refuses every request, without a line of log."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: gRPC closes the connection in the midst of the answer."""


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
