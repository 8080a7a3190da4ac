"""``glioserve doctor --url``: what keeps a server from being reached is named, with what mends it."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from glioserve_triton.channel import ChannelTls
from glioserve_triton.diagnosis.reached import reached_findings
from support.network.http_server import http_server
from support.network.pki import Authority
from support.results.answers import small_answer
from support.server.fake_server import Answer, Fail, FakeServer

REFUSALS = {
    "the gateway's words": (
        Fail("UNAUTHENTICATED", "[GLIO-4109] No token. What to do: Send one."),
        "No token.",
        "Send one.",
    ),
    "a foreign proxy": (Fail("PERMISSION_DENIED", "RBAC: access denied"), "RBAC: access denied", "for access"),
    "another program": (Fail("UNIMPLEMENTED", "unknown service"), "unknown service", "Check that the URL"),
    "no server behind it": (Fail("UNAVAILABLE", "no healthy upstream"), "no healthy upstream", "retry with backoff"),
}


def failed(url: str, tls: ChannelTls | None, said: str, advised: str) -> None:
    (finding,) = reached_findings(url, tls)
    assert (finding.name, finding.state) == (url, "fail")
    assert said in finding.found
    assert advised in finding.action


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal(name: str) -> None:
    refusal, said, advised = REFUSALS[name]
    with FakeServer(Answer(small_answer()), refusal=refusal) as server:
        failed(server.url, None, said, advised)


def test_tls_that_does_not_fit(tmp_path: Path) -> None:
    Authority(tmp_path, "ca").issue("server", hosts=["triton"])
    Authority(tmp_path, "stranger")
    names = ("ca.pem", "stranger.pem", "server.key", "server.pem")
    ours, strangers, key, certificate = ((tmp_path / name).read_bytes() for name in names)
    credentials = grpc.ssl_server_credentials([(key, certificate)])
    with FakeServer(Answer(small_answer()), credentials=credentials) as server:
        failed(server.url, None, "speaks TLS only", "--tls-ca")
        failed(server.url, ChannelTls(strangers, server_name="triton"), "not trusted", "--tls-ca")
        failed(server.url, ChannelTls(ours), "for another name", "--tls-server-name")
    with FakeServer(Answer(small_answer())) as server:
        failed(server.url, ChannelTls(ours), "speaks no TLS", "plain text")


def test_the_port_of_an_http_server() -> None:
    with http_server() as port:
        failed(f"127.0.0.1:{port}", None, "is an HTTP port", "Name the gRPC port")


@pytest.mark.parametrize("url", ["http://triton:8000", "triton", "triton:99999", ""])
def test_an_address_that_no_server_can_have(url: str) -> None:
    failed(url, None, "HOST:PORT", "HOST:PORT")
