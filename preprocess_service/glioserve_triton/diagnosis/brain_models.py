"""The brain models on this machine, and the one that a repository's recipe names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from glioserve_contract import GlioserveError, SchemaError
from glioserve_contract.records.brain_model import (
    BRAIN_MODELS_VARIABLE,
    DEFAULT_BRAIN_DIGEST,
    DEFAULT_BRAIN_MODEL,
    brain_model_digest,
    parse_brain_model_card,
    sidecar_name,
)
from glioserve_contract.records.recipe import BrainExtraction
from glioserve_preprocess.brain.model import PACKAGED, model_files, read_model, site_folder
from glioserve_triton.diagnosis.findings import Finding

_AREA = "brain models"


def brain_models() -> Iterator[Finding]:
    """Yield every model that a recipe could name here, the site's own first, with the digest it would have to name."""
    folder = site_folder()
    if folder is not None and not folder.is_dir():
        action = f"mount the site's brain models there, or unset {BRAIN_MODELS_VARIABLE}"
        yield Finding(_AREA, BRAIN_MODELS_VARIABLE, "fail", "names no folder that is there", action)
    yield from map(_described, model_files(folder))


def recipes_brain_model(extraction: BrainExtraction) -> Finding:
    """Return whether the brain model of a repository's recipe is here; it is not run."""
    if extraction.method == "classical":
        return Finding("repository", "brain extraction", "ok", "classical, needs no model")
    try:
        read_model(extraction, site_folder())
    except GlioserveError as error:
        return Finding("repository", "brain extraction", "fail", f"[{error.code}] {error.detail}", error.action)
    return Finding("repository", "brain extraction", "ok", f"{extraction.model}, with the digest of the recipe")


def _described(path: Path) -> Finding:
    whose = "of the package" if path.parent == PACKAGED else "of the site"
    sidecar, action = path.with_name(sidecar_name(path.name)), "docs/brain-extraction.md has the contract"
    try:
        model, card_bytes = path.read_bytes(), sidecar.read_bytes()
        card = parse_brain_model_card(card_bytes)
    except OSError as error:
        found = f"{whose}; it or its {sidecar.name} cannot be read: {error.strerror}"
        return Finding(_AREA, path.name, "fail", found, action)
    except SchemaError as error:
        return Finding(_AREA, path.name, "fail", f"{whose}; {sidecar.name}: {error}", action)
    digest = brain_model_digest(model, card_bytes)
    found = f"{whose}: {card.name}, {card.spacing_mm:g} mm, {card.output_kind}, {digest}"
    if path.name == DEFAULT_BRAIN_MODEL and digest != DEFAULT_BRAIN_DIGEST:
        action = "recipes that name ours will refuse it: give a model of your own another name"
        return Finding(_AREA, path.name, "warn", f"{found}, which is not this version's own", action)
    return Finding(_AREA, path.name, "ok", found)
