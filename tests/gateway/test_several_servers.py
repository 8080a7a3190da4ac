"""Two real servers behind one gateway: one of them dies, drains or comes back, and no study is lost."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from glioserve_triton.process.options import free_ports
from glioserve_triton.process.server import TritonServer
from support.network.gateways import Caller, Running, running_gateway
from support.server.tiny_repository import hold, write_tiny_repository
from support.server.triton import running_server, wait_until

pytestmark = pytest.mark.triton

STUDIES = 60


@pytest.fixture
def pair(tmp_path: Path, server: TritonServer) -> Iterator[tuple[Running, TritonServer]]:
    """The gateway, and the second server."""
    (port,) = free_ports("127.0.0.1", 1)
    options = {"anonymous": True, "rate": {"burst": 1000}, "limits": {"max_requests_in_flight": 64}}
    repository = write_tiny_repository(tmp_path / "second")
    with (
        running_server(repository, grpc_port=port) as second,
        running_gateway(tmp_path, (server.grpc_url, second.grpc_url), **options) as running,
    ):
        yield running, second


def test_a_server_that_dies_under_load_costs_no_study(pair: tuple[Running, TritonServer], server: TritonServer) -> None:
    gateway, second = pair
    with Caller(gateway.url) as caller, ThreadPoolExecutor(8) as pool:
        assert [caller.infer().status for _ in range(8)] == ["OK"] * 8
        with hold(second.repository) as held, hold(server.repository):
            studies = [pool.submit(caller.infer, 1 << 20) for _ in range(STUDIES)]
            wait_until(held.reached, "a study in the second server")
            os.kill(second.process.pid, signal.SIGKILL)
        outcomes = [study.result() for study in studies]
    assert {outcome.status for outcome in outcomes} == {"OK"}, outcomes
    assert any(entry["attempts"] > 1 for entry in gateway.logged(STUDIES + 8))


def test_a_server_that_drains_is_passed_over(pair: tuple[Running, TritonServer]) -> None:
    gateway, second = pair
    with Caller(gateway.url) as caller:
        second.drain(timeout_s=5)
        assert {caller.infer().status for _ in range(20)} == {"OK"}
        second.stop()
        assert {caller.infer().status for _ in range(20)} == {"OK"}
        started = time.monotonic()
        second.start()
        wait_until(lambda: caller.infer().status == "OK" and asked(gateway, second), "the second server in use again")
        assert time.monotonic() - started < 60


def asked(gateway: Running, server: TritonServer) -> bool:
    """Return whether the server answered one of the last studies."""
    entries = gateway.logged(1)
    return server.grpc_url in {entry["server"] for entry in entries[-4:]}


@pytest.mark.long
def test_no_server_at_all(tmp_path: Path, server: TritonServer) -> None:
    with running_gateway(tmp_path, server.grpc_url, anonymous=True) as gateway, Caller(gateway.url) as caller:
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            wait_until(lambda: caller.infer(timeout_s=2).code == "GLIO-4101", "a typed refusal")
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
        wait_until(lambda: caller.infer().status == "OK", "an answer again")
