"""A DICOMweb server that answers what a test tells it to, and keeps what it was asked."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STUDY, SERIES = "1.2.3", "1.2.3.4"
MR, PM = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.30"
JSON = "application/dicom+json"


@dataclass
class Web:
    """State of the server: what it answers next, and what it was asked."""

    status: int = 200
    kind: str = JSON
    bodies: list[bytes] = field(default_factory=list)
    """Answers in turn; the last one stays."""
    page: Callable[[str], bytes] | None = None
    """Makes the answer to a path, instead of :attr:`bodies`."""
    location: str = ""
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(web: Web, context: ssl.SSLContext | None = None) -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length)
            web.asked.append((self.command, self.path, dict(self.headers)))
            if web.page is not None:
                body = web.page(self.path)
            else:
                body = web.bodies.pop(0) if len(web.bodies) > 1 else (web.bodies or [b"[]"])[0]
            self.send_response(web.status)
            self.send_header("Content-Type", web.kind)
            self.send_header("Content-Length", str(len(body)))
            if web.location:
                self.send_header("Location", web.location)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    web.url = f"http{'s' if context else ''}://127.0.0.1:{server.server_address[1]}/dicom-web"
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()


def items(*values: dict[str, object]) -> bytes:
    """An answer of QIDO-RS."""
    return json.dumps(
        [{tag: {"vr": "UI", "Value": [value]} for tag, value in item.items()} for item in values]
    ).encode()


def instance(number: int, sop_class: str = MR) -> dict[str, object]:
    return {"0020000D": STUDY, "0020000E": SERIES, "00080018": f"{SERIES}.{number}", "00080016": sop_class}
