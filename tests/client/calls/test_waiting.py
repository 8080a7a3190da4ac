"""Waiting for a server: until it is ready, and no longer than waiting can help."""

import asyncio
import socket
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from glioserve_client import AsyncGliomaClient, GliomaClient, Modality, TlsOptions, Volume, VolumeStudy, errors
from glioserve_contract import ErrorCode
from support.network.http_server import http_server
from support.network.pki import Authority
from support.results.answers import small_answer
from support.server.fake_server import Answer, Fail, FakeServer

STUDY = VolumeStudy({Modality.T1CE: Volume(np.zeros((4, 5, 6), np.float32), np.eye(4))})
ANSWER = Answer(small_answer())
LONG_S, AT_ONCE_S = 120.0, 10.0
"""Time that a wait is given, and time by which it ends where waiting does not help."""

CLIENTS: Any = pytest.mark.parametrize("kind", [GliomaClient, AsyncGliomaClient])

REFUSALS = {
    "no credentials": (Fail("UNAUTHENTICATED", "[GLIO-4109] No token."), ErrorCode.UNAUTHENTICATED),
    "credentials of another": (Fail("PERMISSION_DENIED", "[GLIO-4110] Not yours."), ErrorCode.FORBIDDEN),
    "a foreign proxy": (Fail("UNAUTHENTICATED", "Jwt is missing"), ErrorCode.REQUEST_REFUSED),
    "a foreign proxy's list": (Fail("PERMISSION_DENIED", "RBAC: access denied"), ErrorCode.REQUEST_REFUSED),
    "another program": (Fail("UNIMPLEMENTED", "unknown service"), ErrorCode.UNEXPECTED_ANSWER),
}
PASSING = {
    "a load balancer without servers": Fail("UNAVAILABLE", "no healthy upstream"),
    "a connection that broke": Fail("UNKNOWN", "Stream removed"),
    "a proxy that failed": Fail("INTERNAL", "RST_STREAM with error code 2"),
    "a gateway's rate": Fail("RESOURCE_EXHAUSTED", "[GLIO-4111] Too many at a time."),
}


def call(kind: type, url: str, method: str, *arguments: Any, **options: Any) -> Any:
    """Return what a method of either client returns."""
    if kind is GliomaClient:
        with GliomaClient(url, **options) as client:
            return getattr(client, method)(*arguments)

    async def course() -> Any:
        async with AsyncGliomaClient(url, **options) as client:
            return await getattr(client, method)(*arguments)

    return asyncio.run(course())


def ends_at_once(kind: type, url: str, code: ErrorCode, **options: Any) -> None:
    """Every method tells the reason without waiting, and ``ready`` is false."""
    said = set()
    for method, arguments in {"wait_until_ready": (LONG_S,), "server_info": (), "predict": (STUDY,)}.items():
        began = time.monotonic()
        with pytest.raises(errors.GlioserveError) as caught:
            call(kind, url, method, *arguments, **options)
        assert time.monotonic() - began < AT_ONCE_S, method
        assert (caught.value.code, caught.value.retryable) == (code, False), method
        said.add(caught.value.detail)
    assert len(said) == 1
    assert call(kind, url, "ready", **options) is False


@CLIENTS
@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_not_waited_for(kind: type, name: str) -> None:
    refusal, code = REFUSALS[name]
    with FakeServer(ANSWER, refusal=refusal) as server:
        ends_at_once(kind, server.url, code)


@CLIENTS
def test_a_port_of_another_kind_is_not_waited_for(kind: type, pki: Path) -> None:
    with http_server() as port:
        ends_at_once(kind, f"127.0.0.1:{port}", ErrorCode.CONNECTION_MISMATCH)
    with FakeServer(ANSWER) as server:
        ends_at_once(kind, server.url, ErrorCode.CONNECTION_MISMATCH, tls=TlsOptions(pki / "ca.pem"))


@CLIENTS
def test_a_certificate_that_is_not_trusted_is_not_waited_for(kind: type, pki: Path) -> None:

    pair = ((pki / "server.key").read_bytes(), (pki / "server.pem").read_bytes())
    with FakeServer(ANSWER, credentials=grpc.ssl_server_credentials([pair])) as server:
        for tls in (
            None,
            TlsOptions(pki / "stranger.pem", server_name="triton"),
            TlsOptions(pki / "ca.pem", server_name="another"),
        ):
            ends_at_once(kind, server.url, ErrorCode.CONNECTION_MISMATCH, tls=tls)
        call(kind, server.url, "wait_until_ready", LONG_S, tls=TlsOptions(pki / "ca.pem", server_name="triton"))


@CLIENTS
def test_a_model_that_the_server_does_not_know_is_waited_for_while_it_may_be_loaded(kind: type) -> None:
    """A server that has not yet loaded its models knows none of them."""
    with FakeServer(ANSWER, known=False) as server:
        began = time.monotonic()
        with pytest.raises(errors.RequestRefusedError, match="no model 'gliomma'"):
            call(kind, server.url, "wait_until_ready", LONG_S, model_name="gliomma")
        assert time.monotonic() - began < AT_ONCE_S
        server.ready = False
        with pytest.raises(errors.UnavailableError):
            call(kind, server.url, "wait_until_ready", 0.1, model_name="gliomma")
    with FakeServer(ANSWER, ready=False) as server, pytest.raises(errors.UnavailableError):
        call(kind, server.url, "wait_until_ready", 0.1, model_name="drains")


@CLIENTS
@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_waited_for(kind: type, name: str) -> None:
    with FakeServer(ANSWER, refusal=PASSING[name]) as server:
        with pytest.raises(errors.UnavailableError, match=r"not ready after 0\.2 s"):
            call(kind, server.url, "wait_until_ready", 0.2)
        timer = threading.Timer(0.2, setattr, (server, "refusal", None))
        timer.start()
        call(kind, server.url, "wait_until_ready", LONG_S)
        timer.join()


@CLIENTS
def test_readiness_is_waited_for(kind: type) -> None:
    with FakeServer(ANSWER, ready=False) as server:
        assert not call(kind, server.url, "is_ready")
        with pytest.raises(errors.UnavailableError, match=r"not ready after 0\.2 s"):
            call(kind, server.url, "wait_until_ready", 0.2)
        timer = threading.Timer(0.2, setattr, (server, "ready", True))
        timer.start()
        call(kind, server.url, "wait_until_ready", LONG_S)
        timer.join()
        assert call(kind, server.url, "is_ready")


def test_a_server_that_comes_up_later_is_found() -> None:
    """gRPC itself would pause for longer and longer between attempts to connect."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"127.0.0.1:{probe.getsockname()[1]}"
    with GliomaClient(url) as client:
        assert not client.is_ready(timeout_s=1)
        server = FakeServer(ANSWER, address=url)
        with server:
            client.wait_until_ready(30)
            assert client.predict(STUDY).attempts >= 1


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    Authority(folder, "ca").issue("server", hosts=["triton"])
    Authority(folder, "stranger")
    return folder
