"""A real server whose models run makes no call to others, and keeps no identity of the machine for reports."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from support.server.serve import serving

from .test_metrics import infer

pytestmark = [pytest.mark.triton, pytest.mark.long]


@contextmanager
def proxy() -> Iterator[tuple[str, list[bytes]]]:
    """Yield the address of a proxy that passes nothing on, and the first bytes of each call that it got."""
    calls: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def take() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(5)
                    calls.append(connection.recv(200))

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", calls
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_server_makes_no_call_to_others(repository: Path, files: Sequence[bytes], tmp_path: Path) -> None:
    with proxy() as (url, calls):
        names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy")
        variables = {
            **dict.fromkeys(names, url),
            "no_proxy": "127.0.0.1,localhost",
            "HOME": str(tmp_path),
            "XDG_CACHE_HOME": str(tmp_path / ".cache"),
            "ORT_DISABLE_TELEMETRY": "0",
            "CI": "",
        }
        with serving(repository, variables=variables) as serve:
            answer = infer(SimpleNamespace(grpc_url=serve.grpc_url()), files, request_id="seen")
            assert answer.as_numpy("SCORE") is not None
            serve.process.send_signal(signal.SIGTERM)
            assert serve.end() == 0
    assert calls == []
    reporters = [path for path in tmp_path.rglob("*") if path.name.lower() in ("microsoft", "intel")]
    assert reporters == []
