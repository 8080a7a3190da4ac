"""Certificates made on the spot: an authority, and what it signs, as PEM files in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


class Authority:
    """A certificate authority with files in ``folder``: ``<name>.pem`` and ``<name>.key``."""

    def __init__(self, folder: Path, name: str, days: tuple[float, float] = (-1, 2)) -> None:
        self.folder, self.name = folder, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._sign(name, self.key, days, ca=True))
        write_key(folder / f"{name}.key", self.key)

    def issue(
        self,
        name: str,
        *,
        hosts: Sequence[str] = (),
        usage: x509.ObjectIdentifier | None = None,
        days: tuple[float, float] = (-1, 2),
        key: PrivateKey | None = None,
    ) -> Path:
        """Write ``<name>.pem`` and ``<name>.key``, valid from ``days[0]`` to ``days[1]`` from now; the first's path."""
        own = key or ec.generate_private_key(ec.SECP256R1())
        file = self.folder / f"{name}.pem"
        file.write_bytes(self._sign(name, own, days, hosts, usage))
        write_key(file.with_suffix(".key"), own)
        return file

    def _sign(
        self,
        name: str,
        key: PrivateKey,
        days: tuple[float, float],
        hosts: Sequence[str] = (),
        usage: x509.ObjectIdentifier | None = None,
        *,
        ca: bool = False,
    ) -> bytes:
        now = datetime.now(timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named(self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if hosts:
            names = [x509.IPAddress(ip_address(h)) if _is_address(h) else x509.DNSName(h) for h in hosts]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def write_key(file: Path, key: PrivateKey, password: bytes | None = None) -> None:
    """Write a private key in PEM, encrypted where there is a password."""
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock))


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
