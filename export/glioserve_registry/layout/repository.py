"""A served repository: the static models and the classifier's versions, each whole or not there.

``<repository>/{glioma,preprocess,report}`` come from the package, ``classifier/config.pbtxt`` and ``configs/`` from
the contract, the recipe and ``classifier/promotion.json`` (:mod:`glioserve_registry.layout.serving`),
``classifier/<version>/`` from an export. Versions are immutable. A server may be running on the repository all the
while.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.manifest import Manifest
from glioserve_contract.records.promotion import Change
from glioserve_export.files import LOCK_TIMEOUT_S, exclusive, is_foreign, staging, sync_folder
from glioserve_registry.layout.serving import (
    classifier_folder,
    current,
    manifest_of,
    settle,
    utc_now,
    version_folder,
    with_change,
    write_configs,
    write_record,
)
from glioserve_registry.layout.static_models import sync_static_models
from glioserve_registry.publishing.gate import GATE_FILE, load_gate, preprocessing_mismatch
from glioserve_registry.publishing.publication import Terms, checked_export, exported_files, write_published
from glioserve_triton.served.promotions import version_numbers

MARKER = ".glioserve.lock"
"""The lock, and the sign that a folder is ours to write into. Triton reads folders only."""

_MAX_VERSION = 2**31 - 1
_URL_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")
"""Beginning of ``s3://bucket`` once it was taken for a folder."""
_WELCOME = ("lost+found", GATE_FILE)
"""Entries that may be in a folder that is new: a volume's own, and the gate that a site puts there first."""

Fill = Callable[[Path, dict[int, Manifest]], Manifest]
"""Puts a version's files into a folder, given the versions that are there, and returns its manifest."""


def assemble(repository: Path, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> tuple[str, ...]:
    """Make ``repository`` hold the package's static models and return what changed (nothing, the second time).

    GLIO-5108 where the folder was not assembled by glioserve, GLIO-5112 where another process keeps it locked.
    """
    with locked(repository, lock_timeout_s):
        return sync_static_models(repository)


def versions(repository: Path) -> tuple[int, ...]:
    """Return the classifier's versions, oldest first."""
    return version_numbers(classifier_folder(repository))


def add_version(
    repository: Path,
    source: Path,
    version: int | None = None,
    *,
    terms: Terms | None = None,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
) -> int:
    """Publish the exported folder ``source`` as ``version`` (the next, where none is named) and return its number.

    The first version of a repository serves at once; a later one waits for its promotion.

    GLIO-5103 for a manifest that is not its files', GLIO-5104 for another preprocessing or CAM grid than the
    versions there, GLIO-5107 for a version that exists, GLIO-5122 where the repository's gate refuses it. After any
    failure the repository is as it was before.
    """
    checked_export(source)
    with locked(repository, lock_timeout_s):
        return _publish(repository, source, version, terms or Terms())


def ensure_version(repository: Path, source: Path, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> int:
    """Return the version that has the files of ``source``, published first if none has."""
    wanted = exported_files(checked_export(source))
    with locked(repository, lock_timeout_s):
        for version in versions(repository):
            if exported_files(manifest_of(repository, version)) == wanted:
                settle(repository)
                return version
        return _publish(repository, source, None, Terms())


def check_can_join(repository: Path, preprocessing_digest: str, version: int | None) -> None:
    """Fail early on what :func:`add_version` would refuse, as far as it is known before an export."""
    _check_ours(repository)
    existing = versions(repository)
    if version is not None:
        check_number(version)
        if version in existing:
            raise version_exists(version)
    for other in existing:
        if manifest_of(repository, other).preprocessing_digest != preprocessing_digest:
            raise preprocessing_mismatch(other)
    if load_gate(repository).wants_evaluation:
        raise GlioserveError(
            ErrorCode.GATE_REFUSED,
            "The repository's gate wants an evaluation, which an export has not: export to a folder "
            "(`--model-only`), evaluate that, then publish both (`glioserve repository publish`).",
        )


def join(repository: Path, version: int | None, fill: Fill, change: Callable[[int, Manifest], Change]) -> int:
    """Add what ``fill`` writes as ``version`` (the next, where none is named); under the lock.

    ``change`` is how it comes to serve where it is the first; it may refuse.
    """
    existing = versions(repository)
    number = _next(repository, existing) if version is None else version
    check_number(number)
    if version_folder(repository, number).exists():
        raise version_exists(number)
    others = {other: manifest_of(repository, other) for other in existing}
    settle(repository)  # pins what serves before there is anything newer
    classifier = classifier_folder(repository)
    classifier.mkdir(parents=True, exist_ok=True)
    with staging(classifier) as stage:
        manifest = fill(stage, others)
        first = None if existing else change(number, manifest)
        sync_static_models(repository)  # once it is sure that there is a version for them
        if first is not None:
            write_configs(repository, number, manifest)
        stage.rename(version_folder(repository, number))
    sync_folder(classifier)
    if first is not None:
        write_record(repository, with_change(None, first))
    return number


def _next(repository: Path, existing: tuple[int, ...]) -> int:
    """Return a number that no version has, nor had when it last served: the record's history must stay true."""
    promotion = current(repository)
    past = () if promotion is None else [n for change in promotion.history for n in change.in_order() if n is not None]
    return max((*existing, *past), default=0) + 1


def _publish(repository: Path, source: Path, version: int | None, terms: Terms) -> int:
    """Publish ``source``; the caller holds the lock."""
    gate = load_gate(repository)

    def fill(stage: Path, others: dict[int, Manifest]) -> Manifest:
        return write_published(source, stage, gate, others, terms)

    def change(number: int, manifest: Manifest) -> Change:
        publication = manifest.publication
        assert publication is not None  # write_published has filled it
        return Change("publish", number, utc_now(), gate=publication.gate, override=publication.override)

    return join(repository, version, fill, change)


def version_exists(version: int) -> GlioserveError:
    """Return GLIO-5107 for a version that is there already."""
    return GlioserveError(ErrorCode.VERSION_EXISTS, f"The repository has version {version}.")


def check_number(version: int) -> None:
    """Raise GLIO-5108 for a number that Triton does not take."""
    if not 1 <= version <= _MAX_VERSION:
        raise GlioserveError(ErrorCode.INVALID_REPOSITORY, f"A version is 1 to {_MAX_VERSION}, not {version}.")


def _check_ours(repository: Path) -> None:
    """Raise GLIO-5108 where there is anything but our own work or what a fresh volume brings."""
    if repository.parts and _URL_SCHEME.fullmatch(repository.parts[0]):
        raise GlioserveError(
            ErrorCode.INVALID_REPOSITORY,
            f"{repository.parts[0]}//… is a store, not a folder: `glioserve repository publish --to URL` "
            "writes into a store, `glioserve repository fetch URL` brings a version of it into a repository.",
        )
    if is_foreign(repository, MARKER, _WELCOME):
        raise GlioserveError(
            ErrorCode.INVALID_REPOSITORY,
            f"{repository.name} is not empty and was not assembled by glioserve: nothing was written into it.",
        )


@contextmanager
def locked(repository: Path, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold the repository against every other writer; GLIO-5108 where it is not ours or cannot be written."""
    try:
        _check_ours(repository)
        repository.mkdir(parents=True, exist_ok=True)
        with exclusive(repository / MARKER, timeout_s):
            yield
    except OSError as error:
        raise GlioserveError(
            ErrorCode.INVALID_REPOSITORY, f"{repository.name} cannot be written: {error.strerror}."
        ) from error
