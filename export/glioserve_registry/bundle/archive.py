"""The form of a bundle: a plain tar whose every byte follows from its files, with their SHA-256 sums and a signature.

``SHA256SUMS`` lists every file, as ``sha256sum --check`` reads it; ``SHA256SUMS.sig`` is its Ed25519 signature, as
``openssl pkeyutl`` checks it. So a bundle can be verified where glioserve is not installed yet.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from glioserve_contract import ErrorCode, GlioserveError

SUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"
SIGNATURE_BYTES = 64
MOST_SUMS_BYTES = 64 << 20
_NAME = re.compile(r"(?![./])(?:(?!\.\.?/|/)[^/\\\x00-\x1f]+/)*(?!\.\.?$)[^/\\\x00-\x1f]+")
_LINE = re.compile(rf"(?P<digest>[0-9a-f]{{64}})  (?P<name>{_NAME.pattern})")
_BLOCK = 1 << 20


class Hashed:
    """A file that is hashed while it is read, so that what was read is what was hashed."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content, self._hasher = content, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        block = self._content.read(size)
        self._hasher.update(block)
        return block

    def digest(self) -> str:
        """Read what is left. Return the SHA-256 of all."""
        while self.read(_BLOCK):
            pass
        return self._hasher.hexdigest()


Taken = Callable[[str, Hashed], None]
"""Is handed a file's name and its content before that is known to be right: what was made of it waits for the end."""


@dataclass(frozen=True)
class Contents:
    """Files of a verified bundle."""

    names: tuple[str, ...]
    bytes: int


def read_private_key(file: Path) -> Ed25519PrivateKey:
    """Return the key that signs; GLIO-5133 where the file is not an unencrypted Ed25519 key in PEM."""
    try:
        key = load_pem_private_key(file.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise untrusted(f"{file.name} is not a private key in PEM without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise untrusted(f"{file.name} is not an Ed25519 key")
    return key


def read_public_key(file: Path) -> Ed25519PublicKey:
    """Return the key that verifies; GLIO-5133 where the file is not an Ed25519 key in PEM."""
    try:
        key = load_pem_public_key(file.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise untrusted(f"{file.name} is not a public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise untrusted(f"{file.name} is not an Ed25519 key")
    return key


def write_archive(target: Path, files: Mapping[str, Path | bytes], key: Ed25519PrivateKey) -> Contents:
    """Write the files under their names. The same files make the same bytes.

    GLIO-5132 for a name that a bundle cannot hold.
    """
    for name in files:
        if _NAME.fullmatch(name) is None or name in (SUMS, SIGNATURE):
            raise invalid(f"{name!r} cannot be the name of a file in a bundle")
    sums = "".join(f"{_digest(files[name])}  {name}\n" for name in sorted(files)).encode()
    whole: dict[str, Path | bytes] = {SUMS: sums, SIGNATURE: key.sign(sums)}
    whole |= {name: files[name] for name in sorted(files)}
    written = 0
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in whole.items():
            with _opened(content) as stream:
                size = stream.seek(0, io.SEEK_END)
                stream.seek(0)
                archive.addfile(_header(name, size), stream)
                written += size
    return Contents(tuple(sorted(files)), written)


def read_archive(source: Path, key: Ed25519PublicKey, take: Taken | None = None) -> Contents:
    """Verify a bundle, every byte of it; each file is handed to ``take`` when its digest was found right.

    Raises:
        GlioserveError: GLIO-5133 where the signature is not the key's; GLIO-5132 where anything else is not as signed.
    """
    try:
        with source.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:", format=tarfile.PAX_FORMAT) as archive:
            members = _members(archive)
            sums = _small(archive, raw, next(members), SUMS, MOST_SUMS_BYTES)
            signature = _small(archive, raw, next(members), SIGNATURE, SIGNATURE_BYTES)
            try:
                key.verify(signature, sums)
            except InvalidSignature as error:
                raise untrusted(
                    f"{source.name} was not signed by this key, or its list of files was changed"
                ) from error
            wanted = _listed(sums)
            found, total, end = [], len(sums) + len(signature), 0
            for member in members:
                if member.name not in wanted:
                    raise invalid(f"{member.name!r} is not in the signed list of files")
                if member.name in found:
                    raise invalid(f"{member.name!r} is there twice")
                _check_form(raw, member)
                content = archive.extractfile(member)
                assert content is not None
                hashed = Hashed(content)
                if take is not None:
                    take(member.name, hashed)
                if hashed.digest() != wanted[member.name]:
                    raise invalid(f"{member.name!r} is not as it was signed")
                found.append(member.name)
                total, end = total + member.size, _end(member)
            if missing := sorted(wanted.keys() - set(found)):
                raise invalid(f"{missing[0]!r} is missing" + (f", and {len(missing) - 1} more" * (len(missing) > 1)))
            _check_rest(raw, end)
    except StopIteration as error:
        raise invalid(f"{source.name} has no signed list of files") from error
    except (tarfile.TarError, EOFError, UnicodeDecodeError, ValueError) as error:
        raise invalid(f"{source.name} is not a bundle, or is cut off: {error}") from error
    except OSError as error:
        raise invalid(f"{source.name} cannot be read: {error.strerror}") from error
    return Contents(tuple(sorted(found)), total)


def invalid(detail: str) -> GlioserveError:
    """Return GLIO-5132 that says ``detail``."""
    return GlioserveError(ErrorCode.INVALID_BUNDLE, f"{detail}.")


def untrusted(detail: str) -> GlioserveError:
    """Return GLIO-5133 that says ``detail``."""
    return GlioserveError(ErrorCode.UNTRUSTED_BUNDLE, f"{detail}.")


def _header(name: str, size: int) -> tarfile.TarInfo:
    """Return a header that depends on name and size alone."""
    header = tarfile.TarInfo(name)
    header.size, header.mode = size, 0o644
    return header


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        yield member


def _small(archive: tarfile.TarFile, raw: IO[bytes], member: tarfile.TarInfo, name: str, most: int) -> bytes:
    """Return a file of the list and its signature, which stand first."""
    if member.name != name or not member.isreg() or member.size > most:
        raise invalid(f"{name} is not where a bundle has it")
    _check_form(raw, member)
    content = archive.extractfile(member)
    assert content is not None
    return content.read()


def _check_form(raw: IO[bytes], member: tarfile.TarInfo) -> None:
    """Hold the header, and what fills the last block up, to the bytes that :func:`write_archive` writes."""
    canonical = _header(member.name, member.size).tobuf(tarfile.PAX_FORMAT)
    where = raw.tell()
    raw.seek(member.offset)
    if raw.read(member.offset_data - member.offset) != canonical:
        raise invalid(f"the header of {member.name!r} is not as it was written")
    raw.seek(member.offset_data + member.size)
    filling = raw.read(_end(member) - member.offset_data - member.size)
    if filling.strip(b"\0") or member.offset_data + member.size + len(filling) != _end(member):
        raise invalid(f"{member.name!r} is not followed as it was written")
    raw.seek(where)


def _check_rest(raw: IO[bytes], end: int) -> None:
    """Hold what follows the last file to the zeros that end a tar."""
    length = raw.seek(0, io.SEEK_END)
    wanted = -(-(end + 2 * tarfile.BLOCKSIZE) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE
    raw.seek(end)
    if length != wanted or raw.read(wanted - end).strip(b"\0"):
        raise invalid("there is more after the last file, or less, than was written")


def _end(member: tarfile.TarInfo) -> int:
    return member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _listed(sums: bytes) -> dict[str, str]:
    """Return the digest of each listed file."""
    listed: dict[str, str] = {}
    for line in sums.decode("utf-8").splitlines():
        match = _LINE.fullmatch(line)
        if match is None or match["name"] in listed:
            raise invalid(f"{SUMS} has a line that no bundle has")
        listed[match["name"]] = match["digest"]
    return listed


def _opened(content: Path | bytes) -> IO[bytes]:
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")


def _digest(content: Path | bytes) -> str:
    with _opened(content) as stream:
        return Hashed(stream).digest()
