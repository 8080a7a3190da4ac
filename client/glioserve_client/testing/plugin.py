"""A plugin of pytest: the fixture ``glioserve_server`` starts a real server with the demo model, once a session.

    # conftest.py
    pytest_plugins = ["glioserve_client.testing.plugin"]

    # a test
    def test_an_answer(glioserve_server):
        with GliomaClient(glioserve_server.url) as client: ...

It needs the server's distribution, ``glioserve[serve]``, and skips with that reason where it is not installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from glioserve_contract import ErrorCode, GlioserveError


@dataclass(frozen=True)
class EmbeddedServer:
    """A running server."""

    url: str
    """Target for :class:`glioserve_client.GliomaClient`, ``host:port`` on the loopback, in plain text."""


@pytest.fixture(scope="session")
def glioserve_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """Start a server that serves the demo model on a free port, and stop it when the session ends."""
    reason = "the server is not installed: install glioserve with its extra serve"
    demo_model = pytest.importorskip("glioserve_registry.demo_model", reason=reason, exc_type=ImportError)
    server = pytest.importorskip("glioserve_triton.process.server", reason=reason, exc_type=ImportError)
    running = server.TritonServer(demo_model.demo_repository(tmp_path_factory.mktemp("glioserve")))
    try:
        running.start()
    except GlioserveError as error:
        if error.code in (ErrorCode.SERVER_NOT_FOUND, ErrorCode.MISSING_LIBRARY):
            pytest.skip(str(error))
        raise
    try:
        yield EmbeddedServer(running.grpc_url)
    finally:
        running.stop()
