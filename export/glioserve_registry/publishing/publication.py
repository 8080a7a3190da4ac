"""An exported folder to a published one: judged by the gate, with its evaluation, its card and its publication."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path

from glioserve_contract import CONTRACT_VERSION, ErrorCode, GlioserveError
from glioserve_contract.records.facts.evaluation import EvaluationSummary
from glioserve_contract.records.facts.publication import PublicationRecord
from glioserve_contract.records.manifest import Manifest
from glioserve_contract.records.recipe import recipe_digest
from glioserve_export.files import copy_files, sync_folder
from glioserve_export.version_files import CARD_FILES, MANIFEST_FILE, OPTIONAL_FILES, RECIPE_FILE, REQUIRED_FILES
from glioserve_preprocess.files import file_digest, load_recipe
from glioserve_registry.layout.serving import utc_now
from glioserve_registry.publishing.gate import Gate, check_same_interface, judge, require_passed
from glioserve_registry.publishing.model_card import card_files
from glioserve_triton.served.versions import load_manifest, save_manifest


@dataclass(frozen=True)
class Terms:
    """Additions of a publisher to the exported folder."""

    evaluation: EvaluationSummary | None = None
    """Summary of an evaluation of this version (``glioserve_evaluation.reports.report.read_summary``); None keeps the
    summary that the manifest has, if any."""
    override: str | None = None
    """Reason for publishing it although the gate refuses."""


def checked_export(source: Path) -> Manifest:
    """Return the manifest of an exported or published folder whose files are all there and as it says (GLIO-5103)."""
    if not (source / MANIFEST_FILE).is_file():
        raise GlioserveError(
            ErrorCode.INVALID_MANIFEST,
            f"{source.name} is not an exported version: it lacks {MANIFEST_FILE}.",
            "Make one of an artifact: `glioserve export ARTIFACT --model-only DIR`.",
        )
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


def exported_files(manifest: Manifest) -> dict[str, str]:
    """Return the files that an export made, without what publication adds."""
    return {name: digest for name, digest in manifest.files.items() if name not in CARD_FILES}


def write_published(source: Path, stage: Path, gate: Gate, others: Mapping[int, Manifest], terms: Terms) -> Manifest:
    """Fill ``stage`` with the published version of ``source``, to join the versions ``others``.

    GLIO-5103 for files that are not the manifest's, GLIO-5104 for another preprocessing or CAM grid than the others',
    GLIO-5122 where the gate refuses, GLIO-5121 for an evaluation that is not this version's.
    """
    exported = checked_export(source)
    for number, other in others.items():
        check_same_interface(number, other, exported)
    if terms.evaluation is not None:
        check_evaluation(terms.evaluation, exported)
        exported = replace(exported, evaluation=terms.evaluation)
    verdict = judge(gate, exported)
    override = require_passed(verdict, terms.override)
    publication = PublicationRecord(
        at=utc_now(),
        glioserve=glioserve_version(),
        contract=CONTRACT_VERSION,
        source_manifest=file_digest(source / MANIFEST_FILE),
        gate=verdict,
        override=override,
    )
    files = exported_files(exported)
    copy_files(source, files, stage)
    cards = card_files(replace(exported, files=files, publication=publication))
    for name, text in cards.items():
        (stage / name).write_text(text, encoding="utf-8")
    files.update({name: file_digest(stage / name) for name in cards})
    save_manifest(replace(exported, files=files, publication=publication), stage)
    sync_folder(stage)
    return checked_export(stage)  # the source may have changed while it was copied


def check_evaluation(evaluation: EvaluationSummary, manifest: Manifest) -> None:
    """Raise GLIO-5121 for an evaluation of other weights or of another recipe than the manifest's.

    With another threshold or temperature the same network makes other errors.
    """
    pairs = {
        "weights": (evaluation.weights_digest, manifest.weights_digest),
        "recipe": (evaluation.recipe_digest, recipe_digest(manifest.recipe)),
    }
    for part, (evaluated, published) in pairs.items():
        if evaluated != published:
            raise GlioserveError(
                ErrorCode.INVALID_COHORT,
                f"The evaluation is of the {part} {evaluated[:19]}…, this version has {published[:19]}….",
            )


def glioserve_version() -> str:
    """Return the version of the code that runs."""
    try:
        return package_version("glioserve")
    except PackageNotFoundError:
        return "not installed"
