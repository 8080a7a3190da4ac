"""TLS of the gateway: certificates that change while studies are in flight, and callers' own."""

import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from glioserve_client import GliomaClient, TlsOptions, errors
from glioserve_triton.process.server import TritonServer
from glioserve_triton.process.tls import ServerTls
from support.network.gateways import Caller, Running, running_gateway
from support.network.pki import CLIENT, SERVER, Authority
from support.server.tiny_repository import hold, write_tiny_repository
from support.server.triton import running_server, wait_until

pytestmark = pytest.mark.triton

HOST = "glioma.hospital.example"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    Authority(folder, "ca").issue("server", hosts=[HOST], usage=SERVER)
    Authority(folder, "callers").issue("caller", usage=CLIENT)
    Authority(folder, "stranger").issue("strange", usage=CLIENT)
    return folder


def credentials(pki: Path, authority: str, caller: str = "") -> grpc.ChannelCredentials:
    key, chain = ((pki / f"{caller}.{end}").read_bytes() if caller else None for end in ("key", "pem"))
    return grpc.ssl_channel_credentials((pki / f"{authority}.pem").read_bytes(), key, chain)


@pytest.fixture
def gateway(tmp_path: Path, pki: Path, server: TritonServer) -> Iterator[Running]:
    live = tmp_path / "live"
    live.mkdir()
    for name in ("server.pem", "server.key", "callers.pem"):
        (live / name).write_bytes((pki / name).read_bytes())
    files = {"certificate": live / "server.pem", "private_key": live / "server.key", "client_ca": live / "callers.pem"}
    tls = {name: str(file) for name, file in files.items()}
    rate = {"studies_per_minute": 1, "burst": 10}
    with running_gateway(tmp_path, server.grpc_url, tls=tls, rate=rate, wait=False) as running:
        with Caller(running.url, None, credentials(pki, "ca", "caller"), HOST) as caller:
            wait_until(caller.healthy, "the gateway to have found its server")
        yield running


def test_a_caller_needs_a_certificate(gateway: Running, pki: Path) -> None:
    with Caller(gateway.url, None, credentials(pki, "ca", "caller"), HOST) as caller:
        assert caller.infer().status == "OK"
    for refused in (credentials(pki, "ca"), credentials(pki, "ca", "strange")):
        with Caller(gateway.url, None, refused, HOST) as caller:
            assert caller.infer(timeout_s=10).status == "UNAVAILABLE"
    with Caller(gateway.url) as caller:
        assert caller.infer(timeout_s=10).status == "UNAVAILABLE"
    entries = gateway.logged(2)
    assert len(entries[-1]["certificate"]) == 64


def test_our_client_is_told_why(gateway: Running, pki: Path) -> None:
    own = TlsOptions(pki / "ca.pem", pki / "caller.key", pki / "caller.pem", HOST)
    with GliomaClient(gateway.url, tls=own) as client:
        assert client.is_ready()
    wrong = {
        "asks for a client's certificate": TlsOptions(pki / "ca.pem", server_name=HOST),
        "does not take the client's certificate": TlsOptions(
            pki / "ca.pem", pki / "strange.key", pki / "strange.pem", HOST
        ),
        "speaks TLS only": None,
    }
    for said, tls in wrong.items():
        with GliomaClient(gateway.url, tls=tls) as client, pytest.raises(errors.ConnectionMismatchError, match=said):
            client.wait_until_ready(0.5)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_protocols_are_refused(gateway: Running) -> None:
    host, _, port = gateway.url.partition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection((host, int(port)), 10) as plain, pytest.raises(ssl.SSLError, match="VERSION"):
        context.wrap_socket(plain)


def test_a_new_certificate_costs_no_study(gateway: Running, pki: Path, tmp_path: Path, server: TritonServer) -> None:
    """The study in flight goes on; the next connection gets the new certificate, of another authority even."""
    new = tmp_path / "new"
    new.mkdir()
    Authority(new, "new-ca").issue("server", hosts=[HOST], usage=SERVER)
    with Caller(gateway.url, None, credentials(pki, "ca", "caller"), HOST) as caller, ThreadPoolExecutor(1) as pool:
        with hold(server.repository) as held:
            study = pool.submit(caller.infer)
            wait_until(held.reached, "the study in its first step")
            for name in ("server.key", "server.pem"):  # the certificate last, as its key must be there
                (new / name).replace(tmp_path / "live" / name)
            own = (pki / "caller.key").read_bytes(), (pki / "caller.pem").read_bytes()
            trusted = grpc.ssl_channel_credentials((new / "new-ca.pem").read_bytes(), *own)

            def taken() -> bool:
                with Caller(gateway.url, None, trusted, HOST) as other:
                    return other.healthy()

            wait_until(taken, "the new certificate in use")
            assert not study.done()
        assert study.result().status == "OK"
        assert caller.infer().status == "OK"
    with Caller(gateway.url, None, credentials(pki, "ca", "caller"), HOST) as late:
        assert late.infer(timeout_s=10).status == "UNAVAILABLE"


def test_the_rate_is_the_certificates(gateway: Running, pki: Path) -> None:
    with Caller(gateway.url, None, credentials(pki, "ca", "caller"), HOST) as caller:
        forged = [("x-forwarded-client-cert", "Subject=another")]
        statuses = [caller.infer(metadata=forged).status for _ in range(12)]
    assert statuses == ["OK"] * 10 + ["RESOURCE_EXHAUSTED"] * 2


def test_mutual_tls_towards_the_servers(pki: Path, tmp_path: Path) -> None:
    """The servers are on other machines."""
    files = ServerTls(pki / "server.pem", pki / "server.key", pki / "callers.pem")
    own = {"certificate": str(pki / "caller.pem"), "private_key": str(pki / "caller.key")}
    upstream = {"ca": str(pki / "ca.pem"), "server_name": HOST, **own}
    with (
        running_server(write_tiny_repository(tmp_path / "repository"), tls=files) as server,
        running_gateway(tmp_path, server.grpc_url, anonymous=True, servers_tls=upstream) as gateway,
        Caller(gateway.url) as caller,
    ):
        assert caller.infer().status == "OK"
