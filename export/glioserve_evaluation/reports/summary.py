"""What a manifest keeps of an evaluation, read from the report and held to the version it is of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from glioserve_contract import ErrorCode, GlioserveError, canonical_json, sha256_digest
from glioserve_contract.records.manifest import Manifest
from glioserve_evaluation.reports.report import load_report, summary_for_manifest


def evaluation_from(path: Path) -> Callable[[Manifest], dict[str, Any]]:
    """Return :func:`read_evaluation` of ``path`` as a publisher's terms take it."""
    return lambda manifest: read_evaluation(path, manifest)


def read_evaluation(path: Path, manifest: Manifest) -> dict[str, Any]:
    """The manifest's summary of the ``evaluation.json`` that ``glioserve evaluate`` wrote.

    GLIO-5121 where the file is no such report, or is of other weights or of another recipe: with another threshold
    or temperature the same network makes other errors.
    """

    report = load_report(path)
    if report.model.weights_digest != manifest.weights_digest:
        raise _foreign(path, "weights", report.model.weights_digest, manifest.weights_digest)
    recipe_digest = sha256_digest(canonical_json(manifest.recipe).encode())
    if report.model.recipe_digest != recipe_digest:
        raise _foreign(path, "recipe", report.model.recipe_digest, recipe_digest)
    return summary_for_manifest(report)


def _foreign(path: Path, what: str, found: str, wanted: str) -> GlioserveError:
    return GlioserveError(
        ErrorCode.INVALID_COHORT, f"{path.name} is of the {what} {found[:19]}…, this version has {wanted[:19]}…."
    )
