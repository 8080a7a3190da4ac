"""Tell whether a study is complete: by the recipe's own choice of series, the very one that the server makes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from glioserve_contract.records.recipe import Recipe
from glioserve_dicom.files.attributes import text
from glioserve_dicom.files.folder import study_files
from glioserve_dicom.read import read
from glioserve_preprocess.pipeline import compared_by_images, looked_at
from glioserve_preprocess.series.selection import choose_series


def choice_of(folder: Path, recipe: Recipe) -> str:
    """Return a digest of the images that stand for the recipe's sequences, 32 hex digits.

    Another image of a chosen series, or another series that is chosen, changes it; an image that is not chosen does
    not.

    Args:
        folder: the study's files.
        recipe: sequences and least number of slices.

    Raises:
        StudyError: the study is not complete, or cannot be used: GLIO-13xx where a sequence is missing, short or
            ambiguous.
    """
    instances = read(study_files(folder), accept_identified=True)
    choice = choose_series(instances, recipe.channels, recipe.min_slices, compare=compared_by_images, look=looked_at)
    chosen = sorted(
        f"{modality} {text(frame.dataset, 'SOPInstanceUID')} {frame.index}"
        for modality, candidate in choice.chosen.items()
        for frame in candidate.stack.frames
    )
    return hashlib.sha256("\n".join(chosen).encode()).hexdigest()[:32]
