"""An artifact exported and published as a repository's next version."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from glioserve_contract.records.recipe import preprocessing_digest
from glioserve_export.exporter import (
    NO_VARIANTS,
    Exported,
    calibration_studies,
    check_brain_model,
    convert,
    write_version,
)
from glioserve_export.progress import Progress
from glioserve_export.variants.build import WantedVariants
from glioserve_networks import load_artifact
from glioserve_registry.layout.repository import add_version, check_can_join


@dataclass(frozen=True)
class Published:
    """Version that an export became."""

    version: int
    exported: Exported


def export(
    artifact_folder: Path,
    repository: Path,
    version: int | None = None,
    *,
    progress: Progress,
    brain_models: Path | None = None,
    calibration: Path | None = None,
    wanted: WantedVariants = NO_VARIANTS,
) -> Published:
    """Publish the artifact as the repository's ``version`` (the next, where none is named).

    The repository is assembled where it is not there yet. What it would refuse is refused before the work, and so is
    a recipe whose brain model is here as another (GLIO-5114); ``brain_models``: a site's own folder of those.
    """
    artifact = load_artifact(artifact_folder)
    check_brain_model(artifact.recipe, brain_models, progress)
    check_can_join(repository, preprocessing_digest(artifact.recipe), version)
    exported = convert(artifact, progress, calibration_studies(calibration, artifact.recipe), wanted)
    with tempfile.TemporaryDirectory(prefix="glioserve-export-") as stage:
        write_version(exported, Path(stage))
        number = add_version(repository, Path(stage), version)
    return Published(number, exported)
