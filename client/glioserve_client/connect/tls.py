"""TLS towards the server, from files or from bytes in memory."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from glioserve_contract import ErrorCode, GlioserveError

Pem = Path | bytes
"""Certificates or a key in PEM: a file's path, or the text itself."""
Given = str | os.PathLike[str] | bytes
"""The forms in which it is given: a path of any kind, or PEM as text or bytes."""
_PEM_MARK = "-----BEGIN "
_PEM_FIELDS = ("root_certificates", "private_key", "certificate_chain")


@dataclass(frozen=True, repr=False)
class TlsOptions:
    """TLS towards the server; with a key and a certificate of one's own, mutual TLS. PEM, as files or as bytes.

    Files are read again when they change on disk, as a renewed certificate does: calls under way keep their connection,
    later ones have a new one.
    """

    root_certificates: Pem | None = None
    """Certificates of the authorities that may sign the server's; None for the roots that gRPC brings."""
    private_key: Pem | None = field(default=None)
    """The client's private key, for mutual TLS."""
    certificate_chain: Pem | None = None
    """The client's certificate chain, for mutual TLS."""
    server_name: str | None = None
    """The name in the server's certificate where it differs from the URL's host."""

    if TYPE_CHECKING:  # it takes more than it has

        def __init__(
            self,
            root_certificates: Given | None = None,
            private_key: Given | None = None,
            certificate_chain: Given | None = None,
            server_name: str | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        for name in _PEM_FIELDS:
            object.__setattr__(self, name, _pem(getattr(self, name), name))
        if (self.private_key is None) != (self.certificate_chain is None):
            raise ValueError("mutual TLS needs private_key and certificate_chain, or neither")

    def __repr__(self) -> str:
        shown = []
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            if value is not None and name != "private_key":
                shown.append(f"{name}=<{len(value)} bytes>" if isinstance(value, bytes) else f"{name}={value!r}")
        return f"TlsOptions({', '.join(shown)})"

    @property
    def pem(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Roots, private key and certificate chain as they are now. Raises OSError where a file cannot be read."""
        roots, key, chain = (getattr(self, name) for name in _PEM_FIELDS)
        return _content(roots), _content(key), _content(chain)

    def stamp(self) -> tuple[tuple[int, ...], ...]:
        """Return a value that changes with the files. A file that is gone has an empty part in it."""
        return tuple(_stamp(getattr(self, name)) for name in _PEM_FIELDS)

    def check_files(self) -> None:
        """Raise InvalidTlsError if a file cannot be read, or does not hold certificates or the chain's own key.

        gRPC would take any bytes, and say at every call that the server cannot be reached.
        """
        for name in _PEM_FIELDS:
            try:
                content = _content(getattr(self, name))
            except OSError as error:
                detail = f"The TLS file {name} cannot be read: {error.strerror}."
                raise GlioserveError(ErrorCode.INVALID_TLS, detail) from error
            if content is not None and is_cut_off(content):
                raise GlioserveError(ErrorCode.INVALID_TLS, f"The TLS file {name} is cut off within a block of PEM.")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if self.root_certificates is not None:
                with _as_file(self.root_certificates) as roots:
                    context.load_verify_locations(roots)
        except ssl.SSLError as error:
            detail = "The TLS file root_certificates holds no certificates in PEM."
            raise GlioserveError(ErrorCode.INVALID_TLS, detail) from error
        try:
            self.identify(context)
        except (ssl.SSLError, ValueError) as error:
            detail = (
                "The TLS files private_key and certificate_chain are not an unencrypted key and its certificate in PEM."
            )
            raise GlioserveError(ErrorCode.INVALID_TLS, detail) from error

    def identify(self, context: ssl.SSLContext) -> None:
        """Give a context the client's own certificate, where there is one. Raises ssl.SSLError or ValueError."""
        if self.private_key is not None and self.certificate_chain is not None:
            with _as_file(self.certificate_chain) as chain, _as_file(self.private_key) as key:
                context.load_cert_chain(chain, key, password=lambda: b"")


def is_cut_off(pem: bytes) -> bool:
    """Return whether the text ends within a block, as a file does that is being written.

    The libraries that read PEM take the whole blocks before it and do not mention the last one.
    """
    return pem.count(b"-----BEGIN ") != pem.count(b"-----END ")


def _pem(given: Given | None, name: str) -> Pem | None:
    """Return a path or PEM as bytes. Raises TypeError for anything else."""
    if isinstance(given, str):
        return given.encode() if _PEM_MARK in given else Path(given)
    if isinstance(given, os.PathLike):
        return Path(given)
    if given is None or isinstance(given, bytes):
        return given
    raise TypeError(f"{name} must be a file's path or PEM as bytes, not {type(given).__name__}")


def _content(pem: Pem | None) -> bytes | None:
    return pem.read_bytes() if isinstance(pem, Path) else pem


def _stamp(pem: Pem | None) -> tuple[int, ...]:
    if not isinstance(pem, Path):
        return ()
    try:
        found = pem.stat()
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_size, found.st_ino)


@contextmanager
def _as_file(pem: Pem) -> Iterator[str]:
    """Yield a path that OpenSSL reads; of bytes one in memory, where the system has such files."""
    if isinstance(pem, Path):
        yield str(pem)
    elif hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, pem)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.TemporaryDirectory() as folder:  # only its owner can read it
            file = Path(folder) / "pem"
            file.write_bytes(pem)
            yield str(file)
