"""Checks of a model repository on disk, for the adapters and the launcher."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from glioserve_contract import CONTRACT_VERSION, ErrorCode, GlioserveError, same_major
from glioserve_contract.records.manifest import ServedVersion
from glioserve_contract.tensors import CLASSIFIER_MODEL, MODELS, Model
from glioserve_preprocess.files import load_recipe
from glioserve_triton.served.profile import check_profile
from glioserve_triton.served.promotions import serving_version
from glioserve_triton.served.versions import load_manifest, load_versions


def check_contract(model_config: str) -> None:
    """Refuse to load under a config (Triton's JSON of it) written for another contract (GLIO-4104)."""
    parameters = json.loads(model_config).get("parameters", {})
    version = parameters.get("contract_version", {}).get("string_value", "none")
    if not same_major(version):
        raise GlioserveError(
            ErrorCode.CONTRACT_MISMATCH, f"config.pbtxt is of contract {version}, the code of {CONTRACT_VERSION}."
        )


@dataclass(frozen=True)
class CheckedRepository:
    """A repository that is fit to serve."""

    versions: tuple[ServedVersion, ...]
    """Oldest first."""
    serving: ServedVersion
    """The one of them that serves."""


def check_repository(repository: Path, profile: str | None = None) -> CheckedRepository:
    """Return what a repository serves, checked to be whole and fit to serve under ``profile``.

    GLIO-5108 names all that is missing; GLIO-5103 the version whose files are not its manifest's; GLIO-5104 the
    version that another preprocessing shapes the input for.
    """
    if not repository.is_dir():
        raise GlioserveError(ErrorCode.INVALID_REPOSITORY, f"{repository} is not a folder.")
    missing = [what for model in MODELS for what in _missing(repository, model)]
    if profile is not None and profile not in profiles(repository):
        known = ", ".join(profiles(repository)) or "none"
        missing.append(f"the profile {profile} (there: {known})")
    if missing:
        raise GlioserveError(ErrorCode.INVALID_REPOSITORY, f"{repository.name} lacks {', '.join(missing)}.")
    versions = load_versions(repository / CLASSIFIER_MODEL.name)
    for served in versions:
        _check_version(repository, served)
        if served.manifest.preprocessing_digest != versions[0].manifest.preprocessing_digest:
            raise GlioserveError(
                ErrorCode.PREPROCESSING_MISMATCH,
                f"classifier versions {versions[0].version} and {served.version} differ in their preprocessing.",
            )
    number = serving_version(repository)
    serving = next((served for served in versions if served.version == str(number)), None)
    if serving is None:
        raise GlioserveError(
            ErrorCode.INVALID_REPOSITORY,
            f"{repository.name} is to serve classifier version {number}, which it lacks: put it back, or promote "
            "another (`glioserve repository promote`).",
        )
    check_profile(repository, profile, serving)
    return CheckedRepository(versions, serving)


def profiles(repository: Path) -> tuple[str, ...]:
    """Names that ``--profile`` can choose among."""
    return tuple(sorted(p.stem for p in (repository / CLASSIFIER_MODEL.name / "configs").glob("*.pbtxt")))


def _missing(repository: Path, model: Model) -> list[str]:
    folder = repository / model.name
    if not folder.is_dir():
        return [f"the model {model.name}"]
    missing = [] if (folder / "config.pbtxt").is_file() else [f"{model.name}/config.pbtxt"]
    versions = [p for p in folder.iterdir() if p.is_dir() and p.name.isdecimal()]
    if model is CLASSIFIER_MODEL:
        versions = [p for p in versions if (p / "manifest.json").is_file()]
    if not versions:
        what = "version with a manifest.json" if model is CLASSIFIER_MODEL else "version folder (1/)"
        missing.append(f"any {model.name} {what}")
    if model.kind == "python":
        missing += [f"{model.name}/{p.name}/model.py" for p in versions if not (p / "model.py").is_file()]
    return missing


def _check_version(repository: Path, served: ServedVersion) -> None:
    folder = repository / served.name / served.version
    try:
        load_manifest(folder, verify_files=True)
        if load_recipe(folder / "recipe.json") != served.manifest.recipe:
            raise GlioserveError(ErrorCode.INVALID_MANIFEST, "recipe.json is not the manifest's.")
    except GlioserveError as error:
        raise GlioserveError(error.code, f"{served.name}/{served.version}: {error.detail}") from error
