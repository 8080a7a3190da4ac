"""The record of the version that serves, ``promotion.json``, and the configurations that follow from it.

Each file is replaced as a whole. A process that is killed between them leaves a record that is ahead of its
configurations; :func:`settle` makes them one again.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError, to_dict
from glioserve_contract.records.manifest import Manifest
from glioserve_contract.records.promotion import PROMOTION_FILE, PROMOTION_SCHEMA, Begun, Change, Promotion
from glioserve_contract.seal import BLANK_SEAL, sealed_json
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_export.classifier_config import config_files
from glioserve_export.files import write_if_changed
from glioserve_triton.served.promotions import load_promotion, version_numbers
from glioserve_triton.served.versions import load_manifest

CUT_OFF = "cut off before the live server's answer was verified"


def classifier_folder(repository: Path) -> Path:
    """Return the folder of the versions, the configurations and the record."""
    return repository / CLASSIFIER_MODEL.name


def version_folder(repository: Path, version: int) -> Path:
    """Return the folder of a version's files."""
    return classifier_folder(repository) / str(version)


def utc_now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def manifest_of(repository: Path, version: int) -> Manifest:
    """Return a version's manifest; GLIO-5124 where the version is missing, GLIO-5103 where it cannot be read."""
    folder = version_folder(repository, version)
    if not folder.is_dir():
        raise GlioserveError(ErrorCode.VERSION_NOT_FOUND, f"The repository has no version {version}.")
    try:
        return load_manifest(folder)
    except GlioserveError as error:
        raise GlioserveError(error.code, f"Version {version} of the repository: {error.detail}") from error


def current(repository: Path) -> Promotion | None:
    """Return the record; None where nothing serves.

    A repository that was made before there were records gets the one that it would have.
    """
    promotion = load_promotion(classifier_folder(repository))
    newest = max(version_numbers(classifier_folder(repository)), default=None)
    if promotion is None and newest is not None:
        return Promotion(schema=PROMOTION_SCHEMA, serving=newest)
    return promotion


def settle(repository: Path) -> None:
    """Write the record where there is none, and the configurations as they follow from it. Under the lock.

    GLIO-5108 where the version that is to serve is not there.
    """
    promotion = current(repository)
    if promotion is None:
        return
    if not version_folder(repository, promotion.serving).is_dir():
        raise GlioserveError(
            ErrorCode.INVALID_REPOSITORY,
            f"Version {promotion.serving} is to serve and is not there: put it back, or promote another.",
        )
    write(repository, promotion)


def write(repository: Path, promotion: Promotion) -> None:
    """Write the record, then the configurations. Files that do not change are not touched."""
    manifest = manifest_of(repository, promotion.serving)  # before the first write: it may fail
    write_record(repository, promotion)
    write_configs(repository, promotion.serving, manifest)


def write_configs(repository: Path, serving: int, manifest: Manifest) -> None:
    """Write the configurations under which version ``serving`` serves."""
    classifier = classifier_folder(repository)
    (classifier / "configs").mkdir(parents=True, exist_ok=True)
    for name, text in config_files(manifest.recipe, manifest.cam_grid, serving).items():
        write_if_changed(classifier / name, text.encode())


def write_record(repository: Path, promotion: Promotion) -> None:
    """Write the record alone."""
    write_if_changed(classifier_folder(repository) / PROMOTION_FILE, promotion_text(promotion))


def expected_configs(repository: Path, serving: int) -> dict[str, str]:
    """Return path below ``classifier/`` to the text that it should have while version ``serving`` serves."""
    manifest = manifest_of(repository, serving)
    return config_files(manifest.recipe, manifest.cam_grid, serving)


def promotion_text(promotion: Promotion) -> bytes:
    """Return the content of the record's file."""
    return sealed_json(to_dict(replace(promotion, seal=BLANK_SEAL)))


def with_change(promotion: Promotion | None, change: Change) -> Promotion:
    """Return the record after ``change``, done or undone."""
    history = (*(promotion.history if promotion else ()), change)
    serving = change.to_version if change.undone is None else change.from_version
    if serving is None:
        raise ValueError("a change that was undone names the version that serves")
    return Promotion(schema=PROMOTION_SCHEMA, serving=serving, previous=_previous(history), begun=None, history=history)


def with_begun(promotion: Promotion, begun: Begun) -> Promotion:
    """Return the record while ``begun`` is tried on a live server."""
    return replace(promotion, serving=begun.to_version, begun=begun)


def without_cut_off(promotion: Promotion) -> Promotion:
    """Return the record with a change that was cut off undone."""
    begun = promotion.begun
    if begun is None:
        return promotion
    undone = Change(begun.action, begun.to_version, begun.at, begun.from_version, undone=CUT_OFF)
    return with_change(promotion, undone)


def _previous(history: tuple[Change, ...]) -> int | None:
    """Return the version that a rollback goes to.

    Each rollback goes one step further back, never to a version that was rolled away from.
    """
    steps: list[int] = []
    for change in history:
        before = change.from_version
        if change.undone is not None or before is None or before == change.to_version:
            continue
        if change.action != "rollback":
            steps.append(before)
        elif steps:
            steps.pop()
    return steps[-1] if steps else None
