"""A repository in which one version serves that need not serve in the repository it comes from."""

from __future__ import annotations

from pathlib import Path

from glioserve_contract.tensors import MODELS
from glioserve_registry.layout.serving import classifier_folder, manifest_of, version_folder, write_configs


def link_one_version(repository: Path, version: int, place: Path) -> Path:
    """Make ``place`` a repository of links to ``repository`` in which ``version`` alone serves; return it.

    Raises:
        GlioserveError: GLIO-5124 where the repository lacks the version.
    """
    manifest = manifest_of(repository, version)
    own = classifier_folder(place)
    own.mkdir(parents=True)
    for model in MODELS:
        folder = place / model.name
        if folder != own:
            folder.symlink_to((repository / model.name).resolve(), target_is_directory=True)
    version_folder(place, version).symlink_to(version_folder(repository, version).resolve(), target_is_directory=True)
    write_configs(place, version, manifest)
    return place
