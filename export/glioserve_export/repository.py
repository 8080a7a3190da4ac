"""A served repository: the static models and the classifier's versions, each whole or not there.

``<repository>/{glioma,preprocess,report}`` come from the package, ``classifier/config.pbtxt`` and ``configs/`` from
the contract and the recipe, ``classifier/<version>/{model.onnx,recipe.json,manifest.json}`` from an export. Versions
are immutable. A server may be running on the repository all the while.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.manifest import Manifest, load_manifest
from glioserve_contract.recipe import load_recipe
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_export.classifier_config import config_files
from glioserve_export.files import LOCK_TIMEOUT_S, copy_files, exclusive, staging, sync_folder, write_if_changed
from glioserve_export.static_models import sync_static_models
from glioserve_export.version_files import MANIFEST_FILE, OPTIONAL_FILES, RECIPE_FILE, REQUIRED_FILES

MARKER = ".glioserve.lock"
"""The lock, and the sign that a folder is ours to write into. Triton reads folders only."""

_MAX_VERSION = 2**31 - 1


def assemble(repository: Path, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> tuple[str, ...]:
    """Make ``repository`` hold the package's static models and return what changed (nothing, the second time).

    GLIO-5108 where the folder is somebody else's, GLIO-5112 where another process keeps it locked.
    """
    with _locked(repository, lock_timeout_s):
        return sync_static_models(repository)


def versions(repository: Path) -> tuple[int, ...]:
    """The classifier's versions, oldest first."""
    return tuple(sorted(int(p.name) for p in _classifier(repository).glob("[1-9]*") if p.is_dir() and _is_number(p)))


def version_folder(repository: Path, version: int) -> Path:
    """Where a version's three files are."""
    return _classifier(repository) / str(version)


def add_version(
    repository: Path, source: Path, version: int | None = None, *, lock_timeout_s: float = LOCK_TIMEOUT_S
) -> int:
    """Publish the exported folder ``source`` as ``version`` (the next, where none is named) and return its number.

    GLIO-5103 for a manifest that is not its files', GLIO-5104 for another preprocessing or CAM grid than the
    versions there, GLIO-5107 for a version that exists. After any failure the repository is as it was before.
    """
    manifest = checked_export(source)
    with _locked(repository, lock_timeout_s):
        return _add(repository, source, manifest, version)


def ensure_version(repository: Path, source: Path, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> int:
    """The version that has the files of ``source``, published first if none has."""
    manifest = checked_export(source)
    with _locked(repository, lock_timeout_s):
        for version in versions(repository):
            if _manifest_of(repository, version).files == manifest.files:
                return version
        return _add(repository, source, manifest, None)


def check_can_join(repository: Path, preprocessing_digest: str, version: int | None) -> None:
    """Fail early on what :func:`add_version` would refuse, as far as it is known before an export."""
    _check_ours(repository)
    existing = versions(repository)
    if version is not None:
        _check_number(version)
        if version in existing:
            raise _version_exists(version)
    for other in existing:
        if _manifest_of(repository, other).preprocessing_digest != preprocessing_digest:
            raise _preprocessing_mismatch(other)


def checked_export(source: Path) -> Manifest:
    """The manifest of an exported folder whose files are all there and as it says (GLIO-5103)."""
    manifest = load_manifest(source, verify_files=True)
    named = set(manifest.files)
    if not set(REQUIRED_FILES) <= named <= {*REQUIRED_FILES, *OPTIONAL_FILES}:
        raise GlioserveError(
            ErrorCode.INVALID_MANIFEST,
            f"It names the files {', '.join(sorted(named))}, not {', '.join(REQUIRED_FILES)} and at most "
            f"{', '.join(OPTIONAL_FILES)}.",
        )
    if load_recipe(source / RECIPE_FILE) != manifest.recipe:
        raise GlioserveError(ErrorCode.INVALID_MANIFEST, f"{RECIPE_FILE} is not the manifest's recipe.")
    return manifest


def _add(repository: Path, source: Path, manifest: Manifest, version: int | None) -> int:
    """Publish under the lock."""
    existing = versions(repository)
    number = max(existing, default=0) + 1 if version is None else version
    _check_number(number)
    if version_folder(repository, number).exists():
        raise _version_exists(number)
    for other in existing:
        _check_same_interface(other, _manifest_of(repository, other), manifest)
    sync_static_models(repository)
    classifier = _classifier(repository)
    (classifier / "configs").mkdir(parents=True, exist_ok=True)
    with staging(classifier) as stage:
        copy_files(source, (*manifest.files, MANIFEST_FILE), stage)
        checked_export(stage)  # the source may have changed while it was copied
        for name, text in config_files(manifest.recipe, manifest.cam_grid).items():
            write_if_changed(classifier / name, text.encode())
        stage.rename(version_folder(repository, number))
    sync_folder(classifier)
    return number


def _check_same_interface(other: int, theirs: Manifest, ours: Manifest) -> None:
    """One preprocessor and one configuration serve all versions of a repository."""
    if theirs.preprocessing_digest != ours.preprocessing_digest:
        raise _preprocessing_mismatch(other)
    if theirs.cam_grid != ours.cam_grid:
        raise GlioserveError(
            ErrorCode.PREPROCESSING_MISMATCH,
            f"Its CAM has the grid {ours.cam_grid}, that of version {other} {theirs.cam_grid}: "
            "one configuration cannot serve both.",
        )


def _manifest_of(repository: Path, version: int) -> Manifest:
    try:
        return load_manifest(version_folder(repository, version))
    except GlioserveError as error:
        raise GlioserveError(error.code, f"Version {version} of the repository: {error.detail}") from error


def _preprocessing_mismatch(other: int) -> GlioserveError:
    return GlioserveError(
        ErrorCode.PREPROCESSING_MISMATCH,
        f"Its channels, grid, slice rule, intensities or brain extraction are not those of version {other}.",
    )


def _version_exists(version: int) -> GlioserveError:
    return GlioserveError(ErrorCode.VERSION_EXISTS, f"The repository has version {version}.")


def _check_number(version: int) -> None:
    if not 1 <= version <= _MAX_VERSION:
        raise GlioserveError(ErrorCode.INVALID_REPOSITORY, f"A version is 1 to {_MAX_VERSION}, not {version}.")


def _classifier(repository: Path) -> Path:
    return repository / CLASSIFIER_MODEL.name


def _is_number(path: Path) -> bool:
    return path.name.isascii() and path.name.isdigit()


def _check_ours(repository: Path) -> None:
    """GLIO-5108 where there is anything but our own work or what a fresh volume brings."""
    if not repository.exists() or (repository / MARKER).is_file():
        return
    if not repository.is_dir() or any(p.name != "lost+found" for p in repository.iterdir()):
        raise GlioserveError(
            ErrorCode.INVALID_REPOSITORY,
            f"{repository.name} is not empty and was not assembled by glioserve: nothing was written into it.",
        )


@contextmanager
def _locked(repository: Path, timeout_s: float) -> Iterator[None]:
    _check_ours(repository)
    try:
        repository.mkdir(parents=True, exist_ok=True)
        with exclusive(repository / MARKER, timeout_s):
            yield
    except OSError as error:
        raise GlioserveError(
            ErrorCode.INVALID_REPOSITORY, f"{repository.name} cannot be written: {error.strerror}."
        ) from error
