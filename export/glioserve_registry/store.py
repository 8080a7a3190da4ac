"""Versions in a remote store: any fsspec URL (``s3://bucket/prefix``, ``file:///…``, ``memory://…``).

``<url>/classifier/<N>/`` has the files of a version as a repository has them. Stores have no rename, so files come
first and ``manifest.json`` last: a version is there when its manifest is. Versions are never overwritten. What is
fetched is held to the manifest before it joins a repository. fsspec is imported when a store is named, not before.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.install import install_advice
from glioserve_contract.records.manifest import Manifest, parse_manifest
from glioserve_contract.records.promotion import Change
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_export.files import LOCK_TIMEOUT_S, sync_folder
from glioserve_export.version_files import MANIFEST_FILE
from glioserve_preprocess.files import file_digest
from glioserve_registry.layout.repository import check_number, join, locked, version_exists, versions
from glioserve_registry.layout.serving import manifest_of, settle, utc_now
from glioserve_registry.layout.verify import Verified, VersionFiles, verify, verify_versions
from glioserve_registry.publishing.gate import (
    GATE_FILE,
    Gate,
    check_same_interface,
    judge,
    load_gate,
    parse_gate,
    require_passed,
)
from glioserve_registry.publishing.publication import Terms, checked_export, write_published

CLAIM_FILE = ".publishing"
"""Name of the file that says who is about to upload a version.

A second upload of the same number would mix its files with the first one's.
"""

_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss"}
_BLOCK_BYTES = 1 << 20
_SECRET = re.compile(r"(?<=://)[^/@\s]+@|[A-Za-z0-9/+=_-]{16,}")


def is_url(text: str) -> bool:
    """Return whether ``text`` names a store rather than a folder."""
    return "://" in text


class Store:
    """The versions below one URL. Every call raises GLIO-5125 where the store cannot be read or written."""

    def __init__(self, url: str, **options: Any) -> None:
        """Open a store; ``options`` are the file system's own (``endpoint_url`` of S3).

        The environment's and fsspec's options apply too.
        """
        with _store_errors("opened"):
            from fsspec.core import url_to_fs

            # Without fsspec's cached listings: what another machine published must be seen.
            extra = {"use_listings_cache": False, "skip_instance_cache": True} if "memory:" not in url else {}
            self._fs, root = url_to_fs(url, **extra, **options)
        self._root = root.rstrip("/")

    def versions(self) -> tuple[int, ...]:
        """Return the versions that are whole, oldest first."""
        return tuple(number for number in self._numbers() if self._exists(number, MANIFEST_FILE))

    def manifest(self, version: int) -> Manifest:
        """Return a version's manifest; GLIO-5124 where the version is not whole, GLIO-5103 where it was changed."""
        if version not in self.versions():
            raise GlioserveError(ErrorCode.VERSION_NOT_FOUND, f"The store has no version {version}.")
        return parse_manifest(self.read(version, MANIFEST_FILE), verify_seal=True)

    def gate(self) -> Gate:
        """Return the gate of ``gate.json`` beside the versions, the default where there is none."""
        text = self._content(f"{self._root}/{GATE_FILE}")
        return Gate() if text is None else parse_gate(text)

    def upload(self, stage: Path, version: int, claim: str) -> None:
        """Put the published folder ``stage`` there, its manifest last (GLIO-5107 where it is there already)."""
        names = sorted(path.name for path in stage.iterdir() if path.name != MANIFEST_FILE)
        for name in names:
            with _store_errors(f"written ({name})"):
                self._fs.put_file(str(stage / name), self._path(version, name))
            with _store_errors(f"read ({name})"):
                size = self._fs.info(self._path(version, name))["size"]
            if size != (stage / name).stat().st_size:
                raise GlioserveError(ErrorCode.STORE_FAILED, f"{name} arrived with another size.")
        if self._claimant(version) != claim:
            raise _claimed(version)
        self._create(version, MANIFEST_FILE, (stage / MANIFEST_FILE).read_bytes(), version_exists(version))
        self._unclaim(version)

    def claim(self, version: int | None, claim: str) -> int:
        """Keep a number for this upload: ``version``, or the next that no upload has.

        ``claim`` says which upload it is: the same one, tried again, takes its number up where it was cut off.
        GLIO-5107 for a version that is there, GLIO-5112 for one that another upload has begun.
        """
        taken = self._numbers()
        if version is None:
            begun = [n for n in taken if not self._exists(n, MANIFEST_FILE) and self._claimant(n) == claim]
            version = begun[0] if begun else max(taken, default=0) + 1
        check_number(version)
        if self._exists(version, MANIFEST_FILE):
            raise version_exists(version)
        if self._claimant(version) != claim:
            text = json.dumps({"claim": claim, "at": utc_now()}).encode()
            self._create(version, CLAIM_FILE, text, _claimed(version))
            if self._exists(version, MANIFEST_FILE):  # another upload ended since the look above
                self._unclaim(version)
                raise version_exists(version)
        return version

    def download(self, version: int, stage: Path) -> Manifest:
        """Fetch the version's files into the empty folder ``stage``; GLIO-5103 where one is not the manifest's."""
        manifest = self.manifest(version)
        for name in sorted(manifest.files):
            if "/" in name or name.startswith("."):
                raise GlioserveError(ErrorCode.INVALID_MANIFEST, f"It names the file {name!r}.")
            with _store_errors(f"read ({name})"):
                self._fs.get_file(self._path(version, name), str(stage / name))
        (stage / MANIFEST_FILE).write_bytes(self.read(version, MANIFEST_FILE))
        sync_folder(stage)
        return checked_export(stage)

    def files(self, version: int) -> VersionFiles:
        """Return the version's files for :func:`verify_versions`."""
        return _StoredFiles(self, version)

    def names(self, version: int) -> frozenset[str]:
        """Return the names of a version's files."""
        with _store_errors("listed"):
            return frozenset(Path(path).name for path in self._fs.ls(self._folder(version), detail=False))

    def read(self, version: int, name: str) -> bytes:
        """Return a small file's bytes."""
        with _store_errors(f"read ({name})"):
            content: bytes = self._fs.cat_file(self._path(version, name))
        return content

    def digest(self, version: int, name: str) -> str:
        """Return ``sha256:…`` of a file of any size."""
        hasher = hashlib.sha256()
        with _store_errors(f"read ({name})"), self._fs.open(self._path(version, name), "rb") as file:
            while block := file.read(_BLOCK_BYTES):
                hasher.update(block)
        return f"sha256:{hasher.hexdigest()}"

    def is_empty(self) -> bool:
        """Return whether no version was ever begun there, as behind a mistyped URL."""
        return not self._numbers()

    def _numbers(self) -> tuple[int, ...]:
        """Return the numbers of whole versions and of begun ones."""
        folder = f"{self._root}/{CLASSIFIER_MODEL.name}"
        with _store_errors("listed"):
            try:
                names = [Path(path.rstrip("/")).name for path in self._fs.ls(folder, detail=False)]
            except FileNotFoundError:
                return ()
        return tuple(sorted(int(n) for n in names if n.isascii() and n.isdigit() and not n.startswith("0")))

    def _exists(self, version: int, name: str) -> bool:
        with _store_errors("read"):
            return bool(self._fs.exists(self._path(version, name)))

    def _claimant(self, version: int) -> str | None:
        content = self._content(self._path(version, CLAIM_FILE))
        try:
            return str(json.loads(content)["claim"]) if content is not None else None
        except (ValueError, KeyError, TypeError):
            return None

    def _unclaim(self, version: int) -> None:
        with contextlib.suppress(GlioserveError), _store_errors("tidied"):  # a whole version may have a claim, too
            self._fs.rm_file(self._path(version, CLAIM_FILE))

    def _content(self, path: str) -> bytes | None:
        """Return a small file's bytes; None where it is not there, or is removed meanwhile."""
        with _store_errors("read"):
            try:
                content: bytes = self._fs.cat_file(path)
            except FileNotFoundError:
                return None
        return content

    def _create(self, version: int, name: str, content: bytes, there: GlioserveError) -> None:
        """Write a file that must not be there, whole; S3 and local folders judge that in one step."""
        with _store_errors(f"written ({name})"):
            if not self._is_object_store():
                self._fs.makedirs(self._folder(version), exist_ok=True)
            path = self._path(version, name)
            try:
                if self._is_local():
                    _create_local(Path(path), content)
                else:
                    self._fs.pipe_file(path, content, mode="create")
            except OSError as error:
                found = self._content(path)
                if found is None and error.errno == errno.ENOSYS:
                    self._fs.pipe_file(path, content)  # a store without conditional writes
                elif found is None and not isinstance(error, FileExistsError):
                    raise
                # Equal: the answer to a first attempt was lost, and the client tried again. None: what was there when
                # this was written has been removed since, as the claim of an upload that ended is.
                elif found != content:
                    raise there from None

    def _is_object_store(self) -> bool:
        """Return whether paths need no folders; making one would make a bucket of whatever name was mistyped."""
        return bool(_OBJECT_STORES & self._protocols())

    def _is_local(self) -> bool:
        return "file" in self._protocols()

    def _protocols(self) -> set[str]:
        protocol = self._fs.protocol
        return {protocol} if isinstance(protocol, str) else set(protocol)

    def _folder(self, version: int) -> str:
        return f"{self._root}/{CLASSIFIER_MODEL.name}/{version}"

    def _path(self, version: int, name: str) -> str:
        return f"{self._folder(version)}/{name}"


@dataclass(frozen=True)
class _StoredFiles:
    store: Store
    version: int

    def names(self) -> frozenset[str]:
        return frozenset(n for n in self.store.names(self.version) if not n.startswith("."))

    def read(self, name: str) -> bytes:
        return self.store.read(self.version, name)

    def digest(self, name: str) -> str:
        return self.store.digest(self.version, name)


def publish_to(store: Store, source: Path, version: int | None = None, *, terms: Terms | None = None) -> int:
    """Publish the exported folder ``source`` into the store, judged by the store's gate; its number.

    As :func:`glioserve_registry.layout.repository.add_version`, but nothing in a store serves, so nothing is promoted.
    """
    checked_export(source)
    gate, others = store.gate(), {number: store.manifest(number) for number in store.versions()}
    with tempfile.TemporaryDirectory(prefix="glioserve-publish-") as folder:
        write_published(source, Path(folder), gate, others, terms or Terms())  # refused before anything is claimed
        claim = file_digest(source / MANIFEST_FILE)
        number = store.claim(version, claim)
        store.upload(Path(folder), number, claim)
    return number


def fetch(
    store: Store,
    version: int,
    repository: Path,
    *,
    override: str | None = None,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
) -> int:
    """Bring a version of the store into a repository under its number; the very same there already is fine.

    GLIO-5107 where the repository has another version of that number, GLIO-5103 where a file is not the manifest's,
    GLIO-5104 where it cannot join. The first version of a repository serves at once, so the repository's gate must
    pass it (GLIO-5122); any other waits for its promotion, which asks the gate.
    """
    wanted = store.manifest(version)
    with locked(repository, lock_timeout_s):
        if version in versions(repository):
            if manifest_of(repository, version) != wanted:
                raise GlioserveError(
                    ErrorCode.VERSION_EXISTS,
                    f"The repository has version {version}, and it is not the store's.",
                    "Fetch into a repository of its own: a repository takes its versions from one store, or is "
                    "published into.",
                )
            settle(repository)
            return version

        def fill(stage: Path, others: dict[int, Manifest]) -> Manifest:
            for number, other in others.items():
                check_same_interface(number, other, wanted)
            return store.download(version, stage)

        def change(number: int, manifest: Manifest) -> Change:
            verdict = judge(load_gate(repository), manifest)
            reason = require_passed(verdict, override)
            return Change("publish", number, utc_now(), gate=verdict, override=reason)

        return join(repository, version, fill, change)


def verify_store(store: Store, version: int | None = None) -> Verified:
    """Verify a store as :func:`glioserve_registry.layout.verify.verify` does a repository."""
    there = store.versions()
    if version is not None and version not in there:
        raise GlioserveError(ErrorCode.VERSION_NOT_FOUND, f"The store has no version {version}.")
    chosen = there if version is None else (version,)
    files, problems = verify_versions({number: store.files(number) for number in chosen})
    if version is None and store.is_empty():
        problems.append(f"{CLASSIFIER_MODEL.name}/: has no version; is the URL right?")
    try:
        store.gate()
    except GlioserveError as error:
        problems.append(error.detail.rstrip("."))
    return Verified(chosen, files, tuple(problems))


def verify_any(where: str, version: int | None = None) -> Verified:
    """Verify the repository or, where ``where`` is a URL, the store."""
    return verify_store(Store(where), version) if is_url(where) else verify(Path(where), version)


def _create_local(path: Path, content: bytes) -> None:
    """Write a local file that must not be there (FileExistsError); it appears with all of its content, or not.

    fsspec's own way is to look for the file and then to open it, so two uploads could both think that they made it.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, path)  # unlike a rename it never replaces
    except PermissionError:  # a file system without hard links
        with path.open("xb") as file:
            file.write(content)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)


def _claimed(version: int) -> GlioserveError:
    return GlioserveError(
        ErrorCode.REPOSITORY_BUSY,
        f"Another upload of version {version} was begun in the store: name another number, or remove its "
        f"{CLAIM_FILE} if that upload is dead.",
    )


@contextlib.contextmanager
def _store_errors(done: str) -> Iterator[None]:
    """Raise GLIO-5125 for a store's error without its secrets.

    A store's errors share no base; their texts may quote a URL with a password, a key or a signature.
    """
    try:
        yield
    except GlioserveError:
        raise
    except ImportError as error:
        raise GlioserveError(
            ErrorCode.STORE_FAILED,
            f"A store needs the package {error.name!r}, which is not installed.",
            f"Install it: {install_advice('s3')}.",
        ) from None
    except Exception as error:  # noqa: BLE001 - see above
        reason = _SECRET.sub("***", " ".join(str(error).split()))[:200]
        raise GlioserveError(
            ErrorCode.STORE_FAILED, f"It could not be {done}: {type(error).__name__}: {reason}."
        ) from None
