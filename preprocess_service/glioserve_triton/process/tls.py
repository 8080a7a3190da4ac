"""TLS of the server's gRPC port: its files, checked before the start, Triton's flags, the supervisor's own credentials.

Triton 2.51 reads the files at its start only, so a certificate that was replaced needs a restart. The supervisor trusts
the very certificate that the server was given, by whatever name it is for, and no authority. Where callers must show a
certificate, the supervisor makes one for itself that lasts as long as the server: Triton is given the callers'
authorities and that one certificate, whose key never leaves this process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes, PrivateKeyTypes, PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from glioserve_client.connect.tls import is_cut_off
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_triton.channel import ChannelTls

CLIENT_AUTHORITIES_FILE = "client-authorities.pem"
LEAST_RSA_BITS = 2048
_CURVES = ("secp256r1", "secp384r1")
"""Curves that the TLS library of gRPC offers; with any other key no caller could ever connect."""
_SUPERVISOR = "glioserve supervisor"
_LIFETIME = timedelta(days=3650)
_CLOCK_SKEW = timedelta(days=1)


@dataclass(frozen=True)
class ServerTls:
    """PEM files for the gRPC port."""

    certificate: Path
    """The server's certificate, the ones between it and its authority after it."""
    private_key: Path
    """The certificate's private key, unencrypted."""
    client_ca: Path | None = None
    """Authorities of the callers' certificates: with it every caller must show one (mutual TLS)."""


@dataclass(frozen=True)
class PreparedTls:
    """TLS files that were found fit, and what follows from them for one run of the server."""

    files: ServerTls
    channel: ChannelTls
    """The credentials with which the supervisor itself connects."""
    not_after: datetime
    """The time at which the first of the server's certificates expires."""
    client_authorities: bytes | None = field(repr=False)

    def flags(self, run_folder: Path) -> list[str]:
        """Return Triton's flags; the authorities of callers are written into ``run_folder``."""
        flags = [
            "--grpc-use-ssl=true",
            f"--grpc-server-cert={self.files.certificate.resolve()}",
            f"--grpc-server-key={self.files.private_key.resolve()}",
        ]
        if self.client_authorities is not None:
            file = run_folder / CLIENT_AUTHORITIES_FILE
            file.write_bytes(self.client_authorities)
            flags += ["--grpc-use-ssl-mutual=true", f"--grpc-root-cert={file}"]
        return flags


def prepare_tls(files: ServerTls) -> PreparedTls:
    """Check the files, make the supervisor's credentials; GLIO-5127 where a file cannot be used."""
    chain = read_certificates(files.certificate, "server's certificate")
    _check_pair(chain, _read_key(files.private_key))
    for certificate in chain:
        _check_dates(certificate, "server's certificate", files.certificate)
    _check_purpose(chain[0], files.certificate)
    pinned = chain[0].public_bytes(serialization.Encoding.PEM)
    name, not_after = _name_of(chain[0], files.certificate), min(c.not_valid_after_utc for c in chain)
    if files.client_ca is None:
        return PreparedTls(files, ChannelTls(pinned, server_name=name), not_after, None)
    authorities = read_certificates(files.client_ca, "authorities of callers")
    for certificate in authorities:
        _check_dates(certificate, "authorities of callers", files.client_ca)
    key, own = _make_certificate()
    pem = b"".join(c.public_bytes(serialization.Encoding.PEM) for c in authorities)
    return PreparedTls(files, ChannelTls(pinned, key, own, name), not_after, pem + own)


def certificate_not_after(file: Path) -> datetime:
    """Return when the first of the PEM file's certificates expires, in UTC; GLIO-5127 where it holds none."""
    return min(certificate.not_valid_after_utc for certificate in read_certificates(file, "certificate"))


def read_certificates(file: Path, what: str) -> list[x509.Certificate]:
    """Return the PEM file's certificates, at least one; GLIO-5127 where it cannot be read or holds none."""
    content = _read(file, what)
    if is_cut_off(content):
        raise _unfit(file, what, "is cut off within a certificate, as if it was still being written")
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise _unfit(file, what, "holds no certificate in PEM") from error


def _read(file: Path, what: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise _unfit(file, what, f"cannot be read: {error.strerror}") from error


def _read_key(file: Path) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(_read(file, "server's private key"), password=None)
    except TypeError as error:
        raise _unfit(file, "server's private key", "is encrypted; the server needs it without a password") from error
    except ValueError as error:
        raise _unfit(file, "server's private key", "holds no private key in PEM") from error


def _check_pair(chain: Sequence[x509.Certificate], key: PrivateKeyTypes) -> None:
    public = _public_bytes(key.public_key())
    if public != _public_bytes(chain[0].public_key()):
        if any(public == _public_bytes(certificate.public_key()) for certificate in chain[1:]):
            raise _error("The server's certificate must come first in its file, those of its authorities after it.")
        raise _error("The server's private key is not that of its certificate.")
    fits = (isinstance(key, rsa.RSAPrivateKey) and key.key_size >= LEAST_RSA_BITS) or (
        isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES
    )
    if not fits:
        raise _error(
            "The server's key is of a kind that no caller could use: it must be RSA of 2048 bits or more, or an "
            "elliptic curve P-256 or P-384."
        )


def _public_bytes(key: CertificatePublicKeyTypes | PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _check_dates(certificate: x509.Certificate, what: str, file: Path) -> None:
    now = datetime.now(timezone.utc)
    if certificate.not_valid_after_utc < now:
        raise _unfit(file, what, f"expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    if certificate.not_valid_before_utc > now:
        raise _unfit(file, what, f"is valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC")


def _check_purpose(certificate: x509.Certificate, file: Path) -> None:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usage):
        raise _unfit(file, "server's certificate", "is not for servers (extended key usage without serverAuth)")


def _name_of(certificate: x509.Certificate, file: Path) -> str:
    """Return a name that the certificate is for; a host in the place of a wildcard."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = [
            *names.get_values_for_type(x509.DNSName),
            *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
        ]
    except x509.ExtensionNotFound:
        found = [str(a.value) for a in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if not found:
        raise _unfit(file, "server's certificate", "names no host (subject alternative name)")
    return found[0].replace("*", "glioserve", 1)


def _make_certificate() -> tuple[bytes, bytes]:
    """Return a new private key and a certificate for it, signed by itself, that is good for a client only."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _SUPERVISOR)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return secret, certificate.public_bytes(serialization.Encoding.PEM)


def _unfit(file: Path, what: str, why: str) -> GlioserveError:
    return _error(f"The file of the {what} ({file.name}) {why}.")


def _error(detail: str) -> GlioserveError:
    return GlioserveError(ErrorCode.INVALID_SERVER_TLS, detail)
