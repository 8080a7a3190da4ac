"""TLS of the real server's gRPC port: who gets in, the supervisor's own way, unfit files, IPv6."""

import signal
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from glioserve_cli.main import main
from glioserve_client import Modality, TlsOptions, Volume, VolumeStudy
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_registry.promoting.live_server import TritonLive
from glioserve_triton.channel import ChannelTls, open_client
from glioserve_triton.diagnosis.reached import reached_findings
from glioserve_triton.process.options import ServerOptions
from glioserve_triton.process.server import TritonServer
from glioserve_triton.process.tls import ServerTls, certificate_not_after, prepare_tls
from support.network.pki import CLIENT, SERVER, Authority, write_key
from support.server.serve import TIMEOUT_S, serving
from support.server.tiny_repository import ask, expected_score, hold, write_tiny_repository
from support.server.triton import running_server, wait_until

RAW = np.array([[1, 2, 3, 4]], dtype=np.float32)
HOST = "glioma.hospital.example"
TOKEN = "a-token-for-the-operator"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's certificate of one authority, for servers only; the callers' of another, for clients only."""
    folder = tmp_path_factory.mktemp("pki")
    Authority(folder, "ca").issue("server", hosts=["*.hospital.example"], usage=SERVER, days=(-1, 100))
    Authority(folder, "callers-ca").issue("caller", usage=CLIENT)
    return folder


def caller(pki: Path) -> ChannelTls:
    return ChannelTls(*((pki / name).read_bytes() for name in ("ca.pem", "caller.key", "caller.pem")), HOST)


@pytest.mark.triton
def test_mutual_tls_from_start_to_drain(repository: Path, pki: Path, tmp_path: Path) -> None:
    """The supervisor needs no certificate of its operator's, and the files may change on disk meanwhile."""
    for name in ("server.pem", "server.key"):
        (tmp_path / name).write_bytes((pki / name).read_bytes())
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    arguments = ["--tls-cert", tmp_path / "server.pem", "--tls-key", tmp_path / "server.key"]
    arguments += ["--tls-client-ca", pki / "callers-ca.pem", "--admin-token-file", token_file]
    with serving(repository, *map(str, arguments)) as serve, ThreadPoolExecutor(1) as pool:
        url = serve.grpc_url()
        assert "days_left=99" in serve.log
        with open_client(url, caller(pki)) as client:
            np.testing.assert_allclose(ask(client, RAW), expected_score(RAW))
            assert next(f.found for f in reached_findings(url, caller(pki))).startswith("Triton 2.")
            with hold(repository) as held:
                study = pool.submit(ask, client, RAW)
                wait_until(held.reached, "the study in its first step")
                Authority(tmp_path, "another").issue("server", hosts=[HOST])
                serve.process.send_signal(signal.SIGTERM)
                wait_until(lambda: not client.is_model_ready("glioma"), "draining")
                assert not study.done()
            np.testing.assert_allclose(study.result(TIMEOUT_S), expected_score(RAW))
        assert serve.end() == 0
        assert "cut off" not in serve.log


@pytest.mark.triton
def test_a_promotion_steers_the_server_by_mutual_tls(pki: Path, tmp_path: Path) -> None:
    repository = write_tiny_repository(tmp_path / "repository")
    tls = ServerTls(pki / "server.pem", pki / "server.key", pki / "callers-ca.pem")
    with running_server(repository, admin_token=TOKEN, tls=tls) as server:
        own = TlsOptions(pki / "ca.pem", pki / "caller.key", pki / "caller.pem", HOST)
        study = VolumeStudy({Modality.T1: Volume(np.zeros((2, 2, 2)), np.eye(4))})
        with TritonLive(server.grpc_url, TOKEN, repository, study, timeout_s=10, tls=own) as live:
            assert live.ready_versions() == {1}


@pytest.mark.triton
@pytest.mark.parametrize("host", ["::", "[::1]"])
def test_ipv6(repository: Path, host: str) -> None:
    """Every port opens on it: gRPC, HTTP and metrics each want the address in another form."""
    with running_server(repository, host=host, model="report", http=True, allow_known_cves=True) as server:
        assert server.grpc_url.startswith("[::1]:")
        for url in (f"{server.http_url}/v2/health/live", server.metrics_url):
            assert url is not None
            wait_until(lambda url=url: answers(url), f"an answer at {url}")


def answers(url: str) -> bool:
    """Return whether the port is open: Triton opens it after gRPC's, so a ready server may lack it for a moment."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False


@pytest.mark.parametrize("host", ["localhost", "triton.example", "", "[::1", "1.2.3", "0.0.0.0/0"])
def test_a_host_that_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="is not an IP address"):
        ServerOptions(host=host)


def unfit(pki: Path, folder: Path) -> dict[str, tuple[str, ServerTls]]:
    """The message, and the files, by the fault."""
    authority = Authority(folder, "own")

    def issued(name: str, **options: object) -> ServerTls:
        certificate = authority.issue(name, **{"hosts": [HOST], **options})  # type: ignore[arg-type]
        return ServerTls(certificate, certificate.with_suffix(".key"))

    good = issued("good")
    text, locked, chain = folder / "notes.txt", folder / "locked.key", folder / "chain.pem"
    text.write_text("not a certificate")
    write_key(locked, ec.generate_private_key(ec.SECP256R1()), password=b"secret")
    chain.write_bytes(authority.file.read_bytes() + good.certificate.read_bytes())
    half, whole = folder / "half.pem", good.certificate.read_bytes()
    half.write_bytes(whole + authority.file.read_bytes()[:-30])
    old_ca = Authority(folder, "old-ca", days=(-3, -1)).file
    return {
        "no certificate": ("certificate (none.pem) cannot be read: No such file", ServerTls(folder / "none.pem", text)),
        "a folder": ("certificate (", ServerTls(folder, good.private_key)),
        "text": ("certificate (notes.txt) holds no certificate in PEM", ServerTls(text, good.private_key)),
        "no key": ("private key (none.key) cannot be read", ServerTls(good.certificate, folder / "none.key")),
        "text for a key": ("(notes.txt) holds no private key", ServerTls(good.certificate, text)),
        "an encrypted key": ("(locked.key) is encrypted", ServerTls(good.certificate, locked)),
        "another's key": ("is not that of its certificate", ServerTls(good.certificate, pki / "server.key")),
        "the chain reversed": ("must come first in its file", ServerTls(chain, good.private_key)),
        "expired": ("(old.pem) expired on 20", issued("old", days=(-3, -1))),
        "not valid yet": ("(early.pem) is valid only from 20", issued("early", days=(1, 3))),
        "for clients": ("(wrong.pem) is not for servers", issued("wrong", usage=CLIENT)),
        "Ed25519": ("kind that no caller could use", issued("ed", key=ed25519.Ed25519PrivateKey.generate())),
        "P-521": ("kind that no caller could use", issued("p521", key=ec.generate_private_key(ec.SECP521R1()))),
        "a short key": ("kind that no caller could use", issued("short", key=rsa.generate_private_key(65537, 1024))),
        "a chain half written": ("certificate (half.pem) is cut off", ServerTls(half, good.private_key)),
        "authorities half written": (
            "authorities of callers (half.pem) is cut off",
            ServerTls(good.certificate, good.private_key, half),
        ),
        "no authorities": (
            "authorities of callers (notes.txt) holds no certificate",
            ServerTls(good.certificate, good.private_key, text),
        ),
        "an authority that expired": (
            "authorities of callers (old-ca.pem) expired",
            ServerTls(good.certificate, good.private_key, old_ca),
        ),
    }


FAULTS = (
    "no certificate", "a folder", "text", "no key", "text for a key", "an encrypted key", "another's key",
    "the chain reversed", "expired", "not valid yet", "for clients", "Ed25519", "P-521", "a short key",
    "a chain half written", "authorities half written", "no authorities", "an authority that expired",
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_an_unfit_file_is_named_before_anything_starts(repository: Path, pki: Path, tmp_path: Path, fault: str) -> None:
    said, files = unfit(pki, tmp_path)[fault]
    with pytest.raises(GlioserveError) as caught:
        TritonServer(repository, ServerOptions(tls=files)).start()
    assert caught.value.code is ErrorCode.INVALID_SERVER_TLS
    assert said in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("hosts", "name"),
    [
        ([HOST], HOST),
        (["*.hospital.example"], "glioserve.hospital.example"),
        (["127.0.0.1"], "127.0.0.1"),
        ([], "leaf"),
    ],
)
def test_the_supervisor_trusts_the_servers_own_certificate_by_its_name(
    tmp_path: Path, hosts: list[str], name: str
) -> None:
    certificate = Authority(tmp_path, "ca").issue("leaf", hosts=hosts, key=rsa.generate_private_key(65537, 2048))
    prepared = prepare_tls(ServerTls(certificate, certificate.with_suffix(".key")))
    assert prepared.channel.server_name == name
    assert prepared.channel.root_certificates == certificate.read_bytes()
    assert prepared.flags(tmp_path)[0] == "--grpc-use-ssl=true"
    assert not any("mutual" in flag for flag in prepared.flags(tmp_path))


def test_the_first_certificate_that_expires_counts(tmp_path: Path) -> None:
    leaf = Authority(tmp_path, "ca", days=(-1, 5)).issue("leaf", hosts=[HOST], days=(-1, 50))
    leaf.write_bytes(leaf.read_bytes() + (tmp_path / "ca.pem").read_bytes())
    left = certificate_not_after(leaf) - datetime.now(timezone.utc)
    assert timedelta(days=4.9) < left < timedelta(days=5)


def test_the_private_key_of_the_supervisor_is_in_no_repr_and_no_file(pki: Path, tmp_path: Path) -> None:
    prepared = prepare_tls(ServerTls(pki / "server.pem", pki / "server.key", pki / "callers-ca.pem"))
    prepared.flags(tmp_path)
    assert "PRIVATE" not in repr(prepared)
    (written,) = tmp_path.iterdir()
    assert b"PRIVATE" not in written.read_bytes()
    assert written.read_bytes().count(b"BEGIN CERTIFICATE") == 2


def test_http_would_carry_studies_unencrypted(pki: Path) -> None:
    files = ServerTls(pki / "server.pem", pki / "server.key")
    with pytest.raises(GlioserveError, match="HTTP port has no TLS") as caught:
        ServerOptions(host="0.0.0.0", http=True, tls=files)
    assert caught.value.code is ErrorCode.INVALID_SERVER_TLS
    assert ServerOptions(host="0.0.0.0", tls=files).tls is files


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tls-cert", "a.pem"], "needs both the certificate and its key"),
        (["--tls-key", "a.key"], "needs both the certificate and its key"),
        (["--tls-client-ca", "a.pem"], "needs both the certificate and its key"),
        (["--tls-cert", "a.pem", "--tls-key", "a.key"], "(a.pem) cannot be read"),
        (["--tls-cert", "a.pem", "--tls-key", "a.key", "--host", "0.0.0.0", "--http"], "HTTP port has no TLS"),
    ],
)
def test_serve_says_what_is_wrong_with_tls(
    repository: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--repository", str(repository), "--profile", "onnxruntime-cpu", *arguments]) == 1
    assert said in capsys.readouterr().err


def test_tls_is_not_set_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--repository", "x", "--triton-flag=--grpc-use-ssl=true"])
    assert "--grpc-use-ssl is set by --tls-cert" in capsys.readouterr().err
