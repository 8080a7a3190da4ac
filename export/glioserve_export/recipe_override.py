"""An exported version with another slice rule: same network, same parity, another preprocessing digest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from glioserve_contract import sha256_digest
from glioserve_contract.manifest import save_manifest
from glioserve_contract.recipe import preprocessing_digest, save_recipe
from glioserve_export.files import copy_files
from glioserve_export.publication import checked_export, exported_files
from glioserve_export.version_files import RECIPE_FILE


def with_recipe_override(source: Path, target: Path, *, min_slices: int) -> None:
    """Write into the new or empty folder ``target`` the version ``source`` with this ``min_slices``.

    The change is written into the recipe's provenance. Another preprocessing digest: it needs a repository of its
    own.
    """
    manifest = checked_export(source)
    recipe = manifest.recipe.with_min_slices(min_slices)
    target.mkdir(parents=True, exist_ok=True)
    names = exported_files(manifest)
    copy_files(source, set(names) - {RECIPE_FILE}, target)
    save_recipe(recipe, target / RECIPE_FILE)
    changed = replace(
        manifest,
        recipe=recipe,
        preprocessing_digest=preprocessing_digest(recipe),
        files={name: sha256_digest(target / name) for name in names},
        publication={},
    )
    save_manifest(changed, target)
