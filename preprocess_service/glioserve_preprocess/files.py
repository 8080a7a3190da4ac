"""Recipes on disk and the digests of files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError, to_dict
from glioserve_contract.records.recipe import Recipe, parse_recipe


def file_digest(path: Path) -> str:
    """Return ``sha256:<64 hex digits>`` of the file's bytes, read in pieces."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hasher.update(block)
    return "sha256:" + hasher.hexdigest()


def load_recipe(path: Path) -> Recipe:
    """Read and check ``recipe.json``."""
    try:
        return parse_recipe(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise GlioserveError(ErrorCode.INVALID_RECIPE, f"{path.name} cannot be read: {error}.") from error


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write ``recipe.json``, readable and diffable."""
    path.write_text(json.dumps(to_dict(recipe), indent=2) + "\n", encoding="utf-8")
