"""A version with a drift reference, for studies that are like it and for others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from glioserve_contract import canonical_json, sha256_digest, to_dict
from glioserve_contract.records.studies.drift import DRIFT_REFERENCE_FILE, SCORE_FEATURE
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_triton.served.versions import load_manifest, save_manifest
from glioserve_watch.drift.reference import make_reference
from glioserve_watch.drift.values import StudyValues

OTHERS = tuple(n / 200 for n in range(100))
"""Scores of a training whose lesions are necrosis in most studies: 0 to a half."""


def drop_reference(repository: Path) -> None:
    """Take the reference from the repository's first version: the night's one study, again and again, is unlike it."""
    version = repository / CLASSIFIER_MODEL.name / "1"
    manifest = load_manifest(version)
    files = {name: digest for name, digest in manifest.files.items() if name != DRIFT_REFERENCE_FILE}
    save_manifest(replace(manifest, files=files), version)
    (version / DRIFT_REFERENCE_FILE).unlink()


def set_reference(repository: Path, scores: Sequence[float]) -> None:
    """Give the repository's first version a reference of studies with these scores."""
    version = repository / CLASSIFIER_MODEL.name / "1"
    manifest = load_manifest(version)
    studies = [StudyValues({SCORE_FEATURE: score}, {}) for score in scores]
    made = make_reference(studies, manifest.recipe, manifest.weights_digest, "made for the night")
    content = canonical_json(to_dict(made)).encode()
    (version / DRIFT_REFERENCE_FILE).write_bytes(content)
    files = {**manifest.files, DRIFT_REFERENCE_FILE: sha256_digest(content)}
    save_manifest(replace(manifest, files=files), version)
