"""Verification that a repository is what it was when it was written: versions, record and configurations.

All problems are reported, not the first alone. A version's files are held to its manifest, the manifest and the record
to their seals (so one flipped byte of any is found), the configurations to what the record says, the static models to
the installed glioserve's.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from glioserve_contract import ErrorCode, GlioserveError, SchemaError, from_dict
from glioserve_contract.records.manifest import Manifest, parse_manifest
from glioserve_contract.records.plan import PLAN_FILE, PLAN_RECORD_FILE, PlanRecord
from glioserve_contract.records.promotion import PROMOTION_FILE
from glioserve_contract.records.recipe import parse_recipe
from glioserve_export.files import LOCK_TIMEOUT_S
from glioserve_export.version_files import (
    MANIFEST_FILE,
    OPTIONAL_FILES,
    RECIPE_FILE,
    REQUIRED_FILES,
    SITE_FILES,
)
from glioserve_preprocess.files import file_digest
from glioserve_registry.layout.repository import MARKER, locked
from glioserve_registry.layout.serving import classifier_folder, current, expected_configs, version_folder
from glioserve_registry.layout.static_models import static_differences
from glioserve_registry.publishing.gate import check_same_interface, load_gate
from glioserve_triton.served.promotions import load_promotion, version_numbers


@dataclass(frozen=True)
class Verified:
    """Versions and files that were looked at, and what is wrong with them."""

    versions: tuple[int, ...]
    files: int
    """Files of versions whose digests were computed."""
    problems: tuple[str, ...]


class VersionFiles(Protocol):
    """The files of one version, wherever they lie."""

    def names(self) -> frozenset[str]:
        """Return the names of all files, except those that begin with a dot."""

    def read(self, name: str) -> bytes:
        """Return a small file's bytes."""

    def digest(self, name: str) -> str:
        """Return ``sha256:…`` of a file of any size."""


@dataclass(frozen=True)
class LocalFiles:
    """A version's folder."""

    folder: Path

    def names(self) -> frozenset[str]:
        """Return the names of files, and of folders, which no version has."""
        return frozenset(path.name for path in self.folder.iterdir() if not path.name.startswith("."))

    def read(self, name: str) -> bytes:
        """Return the whole file."""
        return (self.folder / name).read_bytes()

    def digest(self, name: str) -> str:
        """Read in blocks."""
        return file_digest(self.folder / name)


def verify(repository: Path, version: int | None = None, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> Verified:
    """Check the repository, or one version of it (GLIO-5124).

    GLIO-5108 where there is no repository at all.
    """
    classifier = classifier_folder(repository)
    if not classifier.is_dir():
        raise GlioserveError(ErrorCode.INVALID_REPOSITORY, f"{repository.name} is not a model repository.")
    there = version_numbers(classifier)
    if version is not None and version not in there:
        raise GlioserveError(ErrorCode.VERSION_NOT_FOUND, f"The repository has no version {version}.")
    chosen = there if version is None else (version,)
    files, problems = verify_versions({n: LocalFiles(version_folder(repository, n)) for n in chosen})
    if version is None:
        # Between the record and its configurations a promotion is at work, or was killed: the lock tells which.
        with _lock_if_possible(repository, lock_timeout_s):
            problems += _repository_problems(repository)
    return Verified(chosen, files, tuple(problems))


def verify_versions(found: Mapping[int, VersionFiles]) -> tuple[int, list[str]]:
    """Return the number of files that were held to their digests, and the problems."""
    count, problems = 0, []
    manifests: dict[int, Manifest] = {}
    for number, files in found.items():
        try:
            manifest, checked, told = check_version(files)
        except OSError as error:
            problems.append(f"{number}: cannot be read: {error.strerror}")
            continue
        count += checked
        problems += [f"{number}/{problem}" for problem in told]
        if manifest is not None:
            manifests[number] = manifest
    if manifests:
        first = min(manifests)
        for number in sorted(manifests):
            try:
                check_same_interface(first, manifests[first], manifests[number])
            except GlioserveError as error:
                problems.append(f"{number}/{MANIFEST_FILE}: {error.detail}")
    return count, problems


def check_version(files: VersionFiles) -> tuple[Manifest | None, int, list[str]]:
    """Return the manifest where it can be read, the number of files held to their digests, and the problems."""
    names = files.names()
    if MANIFEST_FILE not in names:
        return None, 0, [f"{MANIFEST_FILE}: is missing"]
    try:
        manifest = parse_manifest(files.read(MANIFEST_FILE), verify_seal=True)
    except GlioserveError as error:
        return None, 0, [error.detail]
    problems = []
    listed = set(manifest.files)
    problems += [f"{name}: the manifest names no such file" for name in sorted(set(REQUIRED_FILES) - listed)]
    unknown = listed - {*REQUIRED_FILES, *OPTIONAL_FILES}
    problems += [f"{name}: is not a file of a version" for name in sorted(unknown)]
    for name in sorted(listed - unknown):
        if name not in names:
            problems.append(f"{name}: is missing")
        elif files.digest(name) != manifest.files[name]:
            problems.append(f"{name}: is not the file that the manifest names")
        elif name == RECIPE_FILE and parse_recipe(json.loads(files.read(name))) != manifest.recipe:
            problems.append(f"{name}: is not the manifest's recipe")
    strangers = names - listed - {MANIFEST_FILE, *SITE_FILES}
    problems += [f"{name}: no manifest names it" for name in sorted(strangers)]
    problems += _plan_problems(files, names, manifest)
    return manifest, len(listed - unknown), problems


def _plan_problems(files: VersionFiles, names: frozenset[str], manifest: Manifest) -> Iterator[str]:
    """Yield the problems of a TensorRT plan.

    A plan is in no manifest, but its own record has its digest and that of the graph it was built from.
    """
    if not names & set(SITE_FILES):
        return
    for name, other in ((PLAN_FILE, PLAN_RECORD_FILE), (PLAN_RECORD_FILE, PLAN_FILE)):
        if name not in names:
            yield f"{other}: lies there without {name}"
            return
    try:
        record = from_dict(PlanRecord, json.loads(files.read(PLAN_RECORD_FILE)))
    except (UnicodeDecodeError, json.JSONDecodeError, SchemaError) as error:
        yield f"{PLAN_RECORD_FILE}: does not fit its schema: {error}"
        return
    if files.digest(PLAN_FILE) != record.plan_digest:
        yield f"{PLAN_FILE}: is not the plan that {PLAN_RECORD_FILE} was written for"
    if manifest.files.get(record.onnx_file) != record.key.onnx_digest:
        yield f"{PLAN_FILE}: was built from another {record.onnx_file} than the version's"


def _repository_problems(repository: Path) -> Iterator[str]:
    """Yield the problems of everything beside the versions."""
    classifier = classifier_folder(repository)
    there = version_numbers(classifier)
    if not there:
        yield f"{classifier.name}/: has no version"
    for path in sorted(classifier.glob("[0-9]*")):
        if path.is_dir() and path.name not in map(str, there):
            yield f"{classifier.name}/{path.name}: Triton takes it for a version, which it is not"
    yield from (f"{path}: is not this glioserve's" for path in static_differences(repository))
    try:
        load_gate(repository)
    except GlioserveError as error:
        yield error.detail.rstrip(".")
    try:
        promotion = load_promotion(classifier)
        serving = current(repository)
    except GlioserveError as error:
        yield error.detail
        return
    if promotion is not None and promotion.begun is not None:
        begun = promotion.begun
        yield (
            f"{classifier.name}/{PROMOTION_FILE}: a {begun.action} from version {begun.from_version} to "
            f"{begun.to_version}, begun {begun.at}, was cut off: `glioserve repository promote {begun.to_version}` "
            "makes it again, `glioserve repository rollback` undoes it; both with --url of the servers"
        )
    if serving is None:
        return
    for role, number in (("serving", serving.serving), ("the one before", serving.previous)):
        if number is not None and number not in there:
            yield f"{classifier.name}/{PROMOTION_FILE}: version {number}, recorded as {role}, is not there"
    if serving.serving in there:
        yield from _config_problems(repository, serving.serving)


def _config_problems(repository: Path, serving: int) -> Iterator[str]:
    classifier = classifier_folder(repository)
    try:
        wanted = expected_configs(repository, serving)
    except GlioserveError:
        return  # its manifest's problem is told already
    for name, text in wanted.items():
        path = classifier / name
        if not path.is_file():
            yield f"{classifier.name}/{name}: is missing"
        elif path.read_bytes() != text.encode():
            yield (
                f"{classifier.name}/{name}: is not what serves version {serving}; "
                f"`glioserve repository promote {serving}` writes it anew"
            )


@contextlib.contextmanager
def _lock_if_possible(repository: Path, timeout_s: float) -> Iterator[None]:
    """Hold the lock where it can be taken: a volume that is mounted read-only can be verified too."""
    if not ((repository / MARKER).is_file() and os.access(repository / MARKER, os.W_OK)):
        yield
        return
    with locked(repository, timeout_s):
        yield
