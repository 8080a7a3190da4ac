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


def test_half_a_pair_is_refused(pki: Path) -> None:
    with pytest.raises(ValueError, match="private_key and certificate_chain"):
        TlsOptions(pki / "ca.pem", private_key=pki / "client.key")


def unusable(pki: Path, folder: Path) -> dict[str, tuple[str, TlsOptions]]:
    """The message, and the options, by the fault of the files."""
    ca, key, certificate, other = (pki / name for name in ("ca.pem", "client.key", "client.pem", "server.key"))
    text = folder / "notes.txt"
    text.write_text("not a certificate")
    locked = folder / "locked.key"
    openssl("pkey", "-in", str(key), "-aes128", "-passout", "pass:secret", "-out", str(locked))
    pair = "private_key and certificate_chain are not"
    return {
        "no such file": ("root_certificates cannot be read: No such file", TlsOptions(pki / "missing.pem")),
        "a folder": ("certificate_chain cannot be read: Is a directory", TlsOptions(ca, key, folder)),
        "text for roots": ("root_certificates holds no certificates", TlsOptions(text)),
        "a key for roots": ("root_certificates holds no certificates", TlsOptions(key)),
        "text for a certificate": (pair, TlsOptions(ca, key, text)),
        "another's key": (pair, TlsOptions(ca, other, certificate)),
        "an encrypted key": (pair, TlsOptions(ca, locked, certificate)),
    }


KINDS = ("no such file", "a folder", "text for roots", "a key for roots", "text for a certificate", "another's key",
         "an encrypted key")  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_cannot_be_used_is_a_setting_to_mend_and_not_retried(pki: Path, tmp_path: Path, kind: str) -> None:
    said, options = unusable(pki, tmp_path)[kind]
    with pytest.raises(errors.InvalidTlsError, match=said) as caught:
        GliomaClient("127.0.0.1:1", tls=options).wait_until_ready(0.1)
    assert not caught.value.retryable
    assert str(tmp_path) not in str(caught.value)
