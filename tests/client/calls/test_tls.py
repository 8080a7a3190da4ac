"""TLS and mutual TLS against the scripted peer, with certificates made on the spot."""

import asyncio
import contextlib
import socket
import threading
import time
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from glioserve_client import (
    AsyncGliomaClient,
    ConnectionOptions,
    GliomaClient,
    Modality,
    RetryPolicy,
    TlsOptions,
    Volume,
    VolumeStudy,
    errors,
)
from support.network.http_server import http_server
from support.network.pki import Authority, write_key
from support.results.answers import small_answer
from support.server.fake_server import Answer, Fail, FakeServer

STUDY = VolumeStudy({Modality.T1: Volume(np.zeros((2, 2, 2)), np.eye(4))})
NAME = "triton.hospital.example"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, a server's and a client's certificate signed by it, and a stranger's CA."""
    folder = tmp_path_factory.mktemp("pki")
    authority = Authority(folder, "ca")
    for who in ("server", "client"):
        authority.issue(who, hosts=[NAME])
    Authority(folder, "stranger").issue("strange-client")
    authority.issue("expired", hosts=[NAME], days=(-2, -1))
    return folder


def serving(pki: Path, *, mutual: bool, certificate: str = "server", delay_s: float = 0.0) -> FakeServer:
    pair = ((pki / f"{certificate}.key").read_bytes(), (pki / f"{certificate}.pem").read_bytes())
    roots = (pki / "ca.pem").read_bytes() if mutual else None
    credentials = grpc.ssl_server_credentials([pair], root_certificates=roots, require_client_auth=mutual)
    return FakeServer(Answer(small_answer(), delay_s), credentials=credentials)


def failure(url: str, tls: TlsOptions | None) -> errors.GlioserveError | None:
    """Return the error that ends a prediction and a wait for the server alike; None where the study is answered."""
    with GliomaClient(url, tls=tls, retry=RetryPolicy(max_attempts=3, first_pause_s=0.01)) as client:
        try:
            client.predict(STUDY, timeout_s=20)
        except errors.GlioserveError as error:
            with pytest.raises(type(error)):
                client.wait_until_ready(0.2)
            return error
        client.wait_until_ready(20)
        return None


def refused(url: str, tls: TlsOptions | None, said: str) -> None:
    """The fault is named, in one attempt: waiting does not cure it."""
    error = failure(url, tls)
    assert isinstance(error, errors.ConnectionMismatchError)
    assert said in str(error)
    assert (error.retryable, error.attempts) == (False, 1)


def test_tls_with_the_right_authority_and_name_only(pki: Path) -> None:
    with serving(pki, mutual=False) as server:
        assert failure(server.url, TlsOptions(pki / "ca.pem", server_name=NAME)) is None
        refused(server.url, TlsOptions(pki / "stranger.pem", server_name=NAME), "is not trusted")
        refused(server.url, TlsOptions(server_name=NAME), "is not trusted")
        refused(server.url, TlsOptions(pki / "ca.pem", server_name="other.example"), "another name")
        refused(server.url, TlsOptions(pki / "ca.pem"), "another name")
        refused(server.url, None, "speaks TLS only")
    assert len(server.requests) == 1


def test_a_certificate_of_the_server_that_has_expired(pki: Path) -> None:
    with serving(pki, mutual=False, certificate="expired") as server:
        refused(server.url, TlsOptions(pki / "ca.pem", server_name=NAME), "certificate has expired")


def test_mutual_tls_needs_the_clients_own_certificate(pki: Path) -> None:
    own = TlsOptions(pki / "ca.pem", pki / "client.key", pki / "client.pem", server_name=NAME)
    with serving(pki, mutual=True) as server:
        assert failure(server.url, own) is None
        refused(server.url, TlsOptions(pki / "ca.pem", server_name=NAME), "asks for a client's certificate")
        for other in ("strange-client", "expired"):
            wrong = TlsOptions(pki / "ca.pem", pki / f"{other}.key", pki / f"{other}.pem", server_name=NAME)
            refused(server.url, wrong, "does not take the client's certificate")
        refused(server.url, None, "speaks TLS only")
    assert len(server.requests) == 1
    assert "client.key" not in repr(own)


def test_tls_towards_a_server_in_plain_text(pki: Path) -> None:
    with FakeServer(Answer(small_answer())) as server:
        refused(server.url, TlsOptions(pki / "ca.pem", server_name=NAME), "speaks no TLS")
        refused(server.url, TlsOptions(pki / "ca.pem", pki / "client.key", pki / "client.pem"), "speaks no TLS")
        assert server.requests == []


def test_the_port_of_an_http_server_is_named_as_such(pki: Path) -> None:
    with http_server() as port:
        for tls in (None, TlsOptions(pki / "ca.pem")):
            refused(f"127.0.0.1:{port}", tls, f"Port {port} is an HTTP port")


@pytest.mark.parametrize("tls", [None, TlsOptions()])
def test_a_server_that_only_closes_may_come_back(tls: TlsOptions | None) -> None:
    """A load balancer whose servers are down behaves so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closing = threading.Thread(target=close_all, args=(listener,), daemon=True)
        closing.start()
        error = failure(f"127.0.0.1:{listener.getsockname()[1]}", tls)
    assert isinstance(error, errors.UnavailableError)
    assert (error.retryable, error.attempts) == (True, 3)


def close_all(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            listener.accept()[0].close()


@pytest.mark.parametrize("tls", [None, TlsOptions()])
def test_a_closed_port_may_open(tls: TlsOptions | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failure(f"127.0.0.1:{port}", tls)
    assert isinstance(error, errors.UnavailableError)
    assert error.retryable


def test_half_a_pair_is_refused(pki: Path) -> None:
    with pytest.raises(ValueError, match="private_key and certificate_chain"):
        TlsOptions(pki / "ca.pem", private_key=pki / "client.key")


def unusable(pki: Path, folder: Path) -> dict[str, tuple[str, TlsOptions]]:
    """The message, and the options, by the fault of the files."""
    ca, key, certificate, other = (pki / name for name in ("ca.pem", "client.key", "client.pem", "server.key"))
    text = folder / "notes.txt"
    text.write_text("not a certificate")
    locked = folder / "locked.key"
    write_key(locked, ec.generate_private_key(ec.SECP256R1()), password=b"secret")
    half = folder / "half.pem"
    half.write_bytes(ca.read_bytes() + certificate.read_bytes()[:20])
    pair = "private_key and certificate_chain are not"
    return {
        "no such file": ("root_certificates cannot be read: No such file", TlsOptions(pki / "missing.pem")),
        "a folder": ("certificate_chain cannot be read: Is a directory", TlsOptions(ca, key, folder)),
        "text for roots": ("root_certificates holds no certificates", TlsOptions(text)),
        "roots half written": ("root_certificates is cut off", TlsOptions(half)),
        "a key for roots": ("root_certificates holds no certificates", TlsOptions(key)),
        "text for a certificate": (pair, TlsOptions(ca, key, text)),
        "another's key": (pair, TlsOptions(ca, other, certificate)),
        "an encrypted key": (pair, TlsOptions(ca, locked, certificate)),
    }


KINDS = (
    "no such file", "a folder", "text for roots", "roots half written", "a key for roots", "text for a certificate",
    "another's key", "an encrypted key",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_cannot_be_used_is_a_setting_to_mend_and_not_retried(pki: Path, tmp_path: Path, kind: str) -> None:
    said, options = unusable(pki, tmp_path)[kind]
    with pytest.raises(errors.InvalidTlsError, match=said) as caught:
        GliomaClient("127.0.0.1:1", tls=options).wait_until_ready(0.1)
    assert not caught.value.retryable
    assert str(tmp_path) not in str(caught.value)


def test_certificates_and_keys_may_be_bytes(pki: Path) -> None:
    pem = [(pki / name).read_bytes() for name in ("ca.pem", "client.key", "client.pem")]
    own = TlsOptions(*pem, server_name=NAME)
    with serving(pki, mutual=True) as server:
        assert failure(server.url, own) is None
        strange = [(pki / name).read_bytes() for name in ("strange-client.key", "strange-client.pem")]
        refused(server.url, TlsOptions(pem[0], *strange, NAME), "does not take the client's certificate")
    assert repr(own) == (
        f"TlsOptions(root_certificates=<{len(pem[0])} bytes>, certificate_chain=<{len(pem[2])} bytes>, "
        f"server_name='{NAME}')"
    )
    with pytest.raises(errors.InvalidTlsError, match="holds no certificates"):
        GliomaClient(server.url, tls=TlsOptions(b"not a certificate"))
    with pytest.raises(errors.InvalidTlsError, match="are not an unencrypted key"):
        GliomaClient(server.url, tls=TlsOptions(pem[0], pem[2], pem[2]))


def renewed(folder: Path, authority: Authority) -> None:
    """Put a new certificate and key in place, each file whole at any moment, as cert-manager does."""
    authority.issue("next")
    for end in ("pem", "key"):
        (folder / f"next.{end}").replace(folder / f"client.{end}")


def serials(server: FakeServer) -> list[bytes]:
    """The certificates with which the studies came, in turn."""
    return [request.caller for request in server.requests]


def test_a_renewed_certificate_is_taken_and_a_broken_one_is_not(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    authority.issue("server", hosts=[NAME])
    authority.issue("client")
    own = TlsOptions(tmp_path / "ca.pem", tmp_path / "client.key", tmp_path / "client.pem", server_name=NAME)
    with serving(tmp_path, mutual=True) as server, GliomaClient(server.url, tls=own) as client:
        client.predict(STUDY)
        first = own.certificate_chain.read_bytes()
        renewed(tmp_path, authority)
        second = own.certificate_chain.read_bytes()
        client.predict(STUDY)
        client.predict(STUDY)
        own.certificate_chain.write_bytes(second[:100])  # half of one
        client.predict(STUDY)
        own.private_key.unlink()
        client.predict(STUDY)
        renewed(tmp_path, authority)
        client.predict(STUDY)
        third = own.certificate_chain.read_bytes()
    assert serials(server) == [first, second, second, second, second, third]


def test_a_call_under_way_keeps_its_connection_when_certificates_change(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    authority.issue("server", hosts=[NAME])
    authority.issue("client")
    own = TlsOptions(tmp_path / "ca.pem", tmp_path / "client.key", tmp_path / "client.pem", server_name=NAME)

    async def course(url: str) -> list[object]:
        async with AsyncGliomaClient(url, tls=own) as client:
            slow = await client.submit(STUDY)
            while not server.requests:
                await asyncio.sleep(0.01)
            renewed(tmp_path, authority)
            quick = await client.predict(STUDY)
            return [quick.score, (await slow).score]

    with serving(tmp_path, mutual=True, delay_s=0.5) as server:
        scores = asyncio.run(course(server.url))
        with GliomaClient(server.url, tls=own) as client:
            slow = client.submit(STUDY)
            while len(server.requests) < 3:
                time.sleep(0.01)
            renewed(tmp_path, authority)
            scores += [client.predict(STUDY).score, slow.result(30).score]
            assert len(client._channels._held) == 1
    assert len(scores) == 4
    assert len(set(serials(server))) == 3


@pytest.mark.parametrize("kind", [GliomaClient, AsyncGliomaClient])
def test_each_attempt_has_a_token_of_its_own_time(kind: type) -> None:
    given: list[str] = []

    def token() -> str:
        given.append(f"token-{len(given)}")
        return given[-1]

    steps = Fail("UNAVAILABLE", "full"), Answer(small_answer())
    with FakeServer(*steps) as server:
        predicted(kind, server.url, token=token, retry=RetryPolicy(first_pause_s=0.0))
        assert [r.metadata["authorization"] for r in server.requests] == ["Bearer token-0", "Bearer token-1"]
        with pytest.raises(ValueError, match="one of the two"):
            kind(server.url, token=token, headers={"Authorization": "Bearer x"})
        with pytest.raises(PermissionError):
            predicted(kind, server.url, token=locked)
        with pytest.raises(ValueError, match="printable ASCII"):
            predicted(kind, server.url, token=lambda: "two\nlines")
        assert len(server.requests) == 2


def locked() -> str:
    raise PermissionError("no token today")


def predicted(kind: type, url: str, **options: object) -> None:
    async def course() -> None:
        async with AsyncGliomaClient(url, **options) as client:
            await client.predict(STUDY)

    if kind is AsyncGliomaClient:
        asyncio.run(course())
    else:
        with GliomaClient(url, **options) as client:
            client.predict(STUDY)


class Marking(grpc.UnaryUnaryClientInterceptor):
    """Adds a header to every call, and counts them."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def intercept_unary_unary(self, continuation, client_call_details, request):
        self.seen.append(client_call_details.method)
        return continuation(marked(client_call_details), request)


class AioMarking(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self) -> None:
        self.seen: list[str] = []

    async def intercept_unary_unary(self, continuation, client_call_details, request):
        self.seen.append(client_call_details.method)
        return await continuation(marked(client_call_details), request)


def marked(details):
    return details._replace(metadata=(*details.metadata, ("x-mark", "seen")))


@pytest.mark.parametrize(("kind", "interceptor"), [(GliomaClient, Marking), (AsyncGliomaClient, AioMarking)])
def test_interceptors_see_every_attempt(kind: type, interceptor: type) -> None:
    marking = interceptor()
    connection = ConnectionOptions(interceptors=(marking,))
    with FakeServer(Fail("UNAVAILABLE", "full"), Answer(small_answer())) as server:
        predicted(kind, server.url, connection=connection, retry=RetryPolicy(first_pause_s=0.0))
    assert [r.metadata["x-mark"] for r in server.requests] == ["seen", "seen"]
    assert [str(m).split("/")[-1].rstrip("'") for m in marking.seen] == ["ModelInfer"] * 2
