"""TLS and mutual TLS against the scripted peer, with certificates made on the spot."""

import shutil
import subprocess
from pathlib import Path

import grpc
import numpy as np
import pytest

from glioserve_client import NO_RETRY, GliomaClient, Modality, TlsOptions, Volume, VolumeStudy, errors
from support.answers import small_answer
from support.fake_server import Answer, FakeServer

STUDY = VolumeStudy({Modality.T1: Volume(np.zeros((2, 2, 2)), np.eye(4))})
NAME = "triton.hospital.example"

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, a server's and a client's certificate signed by it, and a stranger's CA."""
    folder = tmp_path_factory.mktemp("pki")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    for ca in ("ca", "stranger"):
        files = ("-keyout", f"{folder}/{ca}.key", "-out", f"{folder}/{ca}.pem")
        openssl("req", "-x509", *new_key, *files, "-days", "2", "-subj", f"/CN={ca}")
    (folder / "names").write_text(f"subjectAltName=DNS:{NAME}")
    for who in ("server", "client"):
        openssl("req", *new_key, "-keyout", f"{folder}/{who}.key", "-out", f"{folder}/{who}.csr", "-subj", f"/CN={who}")
        signer = ("-CA", f"{folder}/ca.pem", "-CAkey", f"{folder}/ca.key", "-CAcreateserial")
        files = ("-in", f"{folder}/{who}.csr", "-out", f"{folder}/{who}.pem", "-extfile", f"{folder}/names")
        openssl("x509", "-req", *signer, *files, "-days", "2")
    return folder


def serving(pki: Path, *, mutual: bool) -> FakeServer:
    pair = ((pki / "server.key").read_bytes(), (pki / "server.pem").read_bytes())
    roots = (pki / "ca.pem").read_bytes() if mutual else None
    credentials = grpc.ssl_server_credentials([pair], root_certificates=roots, require_client_auth=mutual)
    return FakeServer(Answer(small_answer()), credentials=credentials)


def predicts(server: FakeServer, tls: TlsOptions | None) -> bool:
    with GliomaClient(server.url, tls=tls, retry=NO_RETRY) as client:
        try:
            client.predict(STUDY, timeout_s=20)
        except errors.UnavailableError:
            return False
        return True


def test_tls_with_the_right_authority_and_name_only(pki: Path) -> None:
    with serving(pki, mutual=False) as server:
        assert predicts(server, TlsOptions(pki / "ca.pem", server_name=NAME))
        assert not predicts(server, TlsOptions(pki / "stranger.pem", server_name=NAME))
        assert not predicts(server, TlsOptions(pki / "ca.pem", server_name="other.example"))
        assert not predicts(server, None)
    assert len(server.requests) == 1


def test_mutual_tls_needs_the_clients_own_certificate(pki: Path) -> None:
    own = TlsOptions(pki / "ca.pem", pki / "client.key", pki / "client.pem", server_name=NAME)
    with serving(pki, mutual=True) as server:
        assert predicts(server, own)
        assert not predicts(server, TlsOptions(pki / "ca.pem", server_name=NAME))
    assert len(server.requests) == 1
    assert "client.key" not in repr(own)


def test_half_a_pair_and_a_missing_file_are_refused(pki: Path) -> None:
    with pytest.raises(ValueError, match="private_key and certificate_chain"):
        TlsOptions(pki / "ca.pem", private_key=pki / "client.key")
    with pytest.raises(errors.UnavailableError, match=r"root_certificates cannot be read: No such file"):
        GliomaClient("127.0.0.1:1", tls=TlsOptions(pki / "missing.pem"))
