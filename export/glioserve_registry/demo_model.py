"""The demo model that ships with glioserve, and a repository that serves it. No torch, no onnx."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError, canonical_json, sha256_digest
from glioserve_export.files import exclusive
from glioserve_export.version_files import MANIFEST_FILE
from glioserve_registry.layout.repository import assemble, ensure_version
from glioserve_registry.layout.serving import manifest_of
from glioserve_registry.promoting.promotion import promote
from glioserve_registry.publishing.publication import checked_export, exported_files
from glioserve_registry.recipe_override import with_recipe_override
from glioserve_triton.served.promotions import serving_version
from glioserve_triton.served.versions import load_manifest

_LOCK_FILE = ".demo.lock"
_PACKAGED = Path(__file__).parent / "_demo_model"
_CHECKOUT = Path(__file__).parents[2] / "examples" / "demo_model"


def demo_model_dir() -> Path:
    """Return the demo model's folder: package data of an installed wheel, else the source checkout's (GLIO-5103)."""
    for folder in (_PACKAGED, _CHECKOUT):
        if (folder / MANIFEST_FILE).is_file():
            return folder
    raise GlioserveError(
        ErrorCode.INVALID_MANIFEST,
        "The demo model is missing from this installation.",
        "Install glioserve again, or run `make demo-model` in a checkout.",
    )


def demo_repository(build: Path, *, min_slices: int | None = None) -> Path:
    """Return a repository below ``build`` that serves the demo model; quick where it is there already.

    With ``min_slices``, the variant of its recipe that wants so many slices. It is ``build/repository`` where that
    is new or serves this very model, else a folder of its own: another model's repository is left as it is.
    """
    with _variant(min_slices) as source:
        wanted = checked_export(source)
        digest = sha256_digest(canonical_json(wanted.files).encode()).removeprefix("sha256:")
        build.mkdir(parents=True, exist_ok=True)
        with exclusive(build / _LOCK_FILE):  # between a look at what serves and a version that serves
            repository = build / "repository"
            serving = serving_version(repository)
            if serving is not None and exported_files(manifest_of(repository, serving)) != wanted.files:
                repository = build / f"repository-{digest[:8]}"
            assemble(repository)
            version = ensure_version(repository, source)
            if serving_version(repository) != version:
                promote(repository, version)
        return repository


@contextmanager
def _variant(min_slices: int | None) -> Iterator[Path]:
    shipped = demo_model_dir()
    if min_slices is None or min_slices == load_manifest(shipped).recipe.min_slices:
        yield shipped
        return
    with tempfile.TemporaryDirectory(prefix="glioserve-demo-") as folder:
        with_recipe_override(shipped, Path(folder), min_slices=min_slices)
        yield Path(folder)
