"""A version's folder on disk: its manifest read, verified and written."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError, to_dict
from glioserve_contract.records.manifest import Manifest, ServedVersion, parse_manifest
from glioserve_contract.seal import BLANK_SEAL, sealed_json
from glioserve_preprocess.files import file_digest


def load_manifest(folder: Path, *, verify_files: bool = False) -> Manifest:
    """Read ``folder/manifest.json``; with ``verify_files`` also hold it to its seal and every file to its digest.

    GLIO-5103 where anything is not as it should be.
    """
    try:
        text = (folder / "manifest.json").read_bytes()
    except OSError as error:
        raise GlioserveError(ErrorCode.INVALID_MANIFEST, f"manifest.json: {error}.") from error
    manifest = parse_manifest(text, verify_seal=verify_files)
    if verify_files:
        for name, digest in manifest.files.items():
            if digest_of(folder / name) != digest:
                raise GlioserveError(ErrorCode.INVALID_MANIFEST, f"{name} is not the file the manifest names.")
    return manifest


def digest_of(file: Path) -> str | None:
    """Return the file's digest; None where there is no such file, or it cannot be read."""
    try:
        return file_digest(file)
    except OSError:
        return None


def load_versions(classifier: Path) -> tuple[ServedVersion, ...]:
    """Return the versions under a repository's classifier folder, oldest first; GLIO-5108 where there is none."""
    folders = _version_folders(classifier)
    if not folders:
        raise GlioserveError(ErrorCode.INVALID_REPOSITORY, f"No version with a manifest under {classifier.name}/.")
    return tuple(_served_version(classifier.name, p) for p in folders)


def readable_versions(classifier: Path) -> tuple[ServedVersion, ...]:
    """Return the versions whose manifests can be read now, oldest first; for a server that runs already."""
    found = []
    for folder in _version_folders(classifier):
        with suppress(GlioserveError):
            found.append(_served_version(classifier.name, folder))
    return tuple(found)


def _version_folders(classifier: Path) -> list[Path]:
    # os.path says no where Path raises: a folder without permission, a stale handle of NFS.
    found = [p for p in classifier.glob("[0-9]*") if p.name.isdecimal() and os.path.isfile(p / "manifest.json")]
    return sorted(found, key=lambda p: int(p.name))


def _served_version(name: str, folder: Path) -> ServedVersion:
    try:
        return ServedVersion(name, folder.name, load_manifest(folder))
    except GlioserveError as error:
        raise GlioserveError(error.code, f"{name}/{folder.name}: {error.detail}") from error


def save_manifest(manifest: Manifest, folder: Path) -> None:
    """Write ``folder/manifest.json``, sealed where it says how it was published."""
    manifest.check("manifest")
    if manifest.publication is None:
        text = (json.dumps(to_dict(manifest), indent=2) + "\n").encode()
    else:
        blank = replace(manifest, publication=replace(manifest.publication, seal=BLANK_SEAL))
        text = sealed_json(to_dict(blank))
    (folder / "manifest.json").write_bytes(text)
