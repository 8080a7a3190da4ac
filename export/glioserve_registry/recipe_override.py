"""An exported version with a changed recipe: same network and parity; what follows from the recipe is written anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from glioserve_contract import to_dict
from glioserve_contract.records.recipe import Recipe, parse_recipe, preprocessing_digest
from glioserve_export.files import copy_files
from glioserve_export.version_files import DRIFT_REFERENCE_FILE, FP16_FILE, INT8_FILE, RECIPE_FILE
from glioserve_preprocess.files import file_digest, save_recipe
from glioserve_registry.publishing.publication import checked_export, exported_files
from glioserve_triton.served.versions import save_manifest


def with_recipe_override(source: Path, target: Path, *, min_slices: int) -> None:
    """Write into the new or empty folder ``target`` the version ``source`` with this ``min_slices``.

    The change is written into the recipe's provenance. Another preprocessing digest: it needs a repository of its
    own.
    """
    with_changed_recipe(source, target, lambda recipe: recipe.with_min_slices(min_slices))


def with_changed_recipe(source: Path, target: Path, change: Callable[[Recipe], Recipe]) -> Recipe:
    """Write into the new or empty folder ``target`` the version ``source`` with ``change(recipe)``, which is returned.

    Weights and parity stay what they are, and so do all files that the change leaves true. An evaluation is of one
    recipe and is left behind; so are the variants where scores or labels change, by which they were judged, and the
    drift reference where preprocessing or temperature change.
    """
    manifest = checked_export(source)
    recipe = parse_recipe(to_dict(change(manifest.recipe)))
    left_behind = {RECIPE_FILE}
    judged = _judged_by(recipe) == _judged_by(manifest.recipe)
    if not judged:
        left_behind |= {FP16_FILE, INT8_FILE}
    if (recipe.temperature, preprocessing_digest(recipe)) != (
        manifest.recipe.temperature,
        manifest.preprocessing_digest,
    ):
        left_behind.add(DRIFT_REFERENCE_FILE)
    names = set(exported_files(manifest)) - left_behind
    target.mkdir(parents=True, exist_ok=True)
    copy_files(source, names, target)
    save_recipe(recipe, target / RECIPE_FILE)
    changed = replace(
        manifest,
        recipe=recipe,
        preprocessing_digest=preprocessing_digest(recipe),
        files={name: file_digest(target / name) for name in exported_files(manifest) if name in {*names, RECIPE_FILE}},
        variants=manifest.variants if judged else {},
        evaluation=None,
        publication=None,
    )
    save_manifest(changed, target)
    return recipe


def _judged_by(recipe: Recipe) -> tuple[float, float]:
    """Return what decides scores and labels besides the network: the variants' drift and flips were counted with it."""
    return recipe.temperature, recipe.threshold
