"""Studies that a network was trained or validated on, summarised: ``drift_reference.json`` beside its weights.

The server compares the studies of operation with it. It holds no study: of each figure the sorted values alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal

from glioserve_contract.codec import Digest, SchemaError, from_dict
from glioserve_contract.errors import ErrorCode, GlioserveError
from glioserve_contract.records.recipe import Recipe, preprocessing_digest
from glioserve_contract.sequences import Modality

DRIFT_REFERENCE_FILE = "drift_reference.json"
DriftReferenceSchema = Literal["glioserve/drift_reference/1"]
DRIFT_REFERENCE_SCHEMA: DriftReferenceSchema = "glioserve/drift_reference/1"
MOST_VALUES = 512
"""Values that are kept of one feature; of more studies so many evenly spaced order statistics are kept."""
MOST_CATEGORIES = 32
MIN_REFERENCE_STUDIES = 30
"""Studies that a reference needs."""

SCORE_FEATURE = "score"
_OF_SEQUENCES = (
    *("pixel_spacing_mm", "slice_spacing_mm", "displacement_mm", "similarity_nats"),
    *("intensity_median", "intensity_spread"),
)
NUMBER_FEATURES = (
    SCORE_FEATURE,
    "brain_volume_liters",
    "field_strength_tesla",
    *(f"{modality}_{name}" for modality in Modality for name in _OF_SEQUENCES),
)
"""Features that are numbers."""
CATEGORY_FEATURES = ("manufacturer",)
"""Features that are words."""
DRIFT_FEATURES = (*NUMBER_FEATURES, *CATEGORY_FEATURES)
"""Everything that drift is measured on."""


@dataclass(frozen=True)
class DriftReference:
    """Distribution of each feature over the studies of a training or validation cohort."""

    schema: DriftReferenceSchema
    """Name and version of this schema."""
    weights_digest: Digest
    """``sha256:…`` of the weights that gave the scores."""
    preprocessing_digest: Digest
    """``sha256:…`` of the recipe's part under which the figures were made."""
    temperature: float
    """Temperature of the recipe that gave the scores."""
    studies: int
    """Number of studies."""
    source: str
    """Words on where the studies came from."""
    numbers: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Sorted values of each feature that is a number, at most :data:`MOST_VALUES`."""
    categories: dict[str, dict[str, int]] = field(default_factory=dict)
    """Number of studies by word, of each feature that is a word."""

    def check(self, path: str) -> None:
        """Raise SchemaError for unknown features, too few studies, unsorted values and what is too large."""
        if self.studies < MIN_REFERENCE_STUDIES:
            raise SchemaError(f"{path}.studies", f"must be at least {MIN_REFERENCE_STUDIES}, not {self.studies}")
        for name, values in self.numbers.items():
            if name not in NUMBER_FEATURES:
                raise SchemaError(f"{path}.numbers.{name}", "is not a feature")
            if not 1 <= len(values) <= MOST_VALUES or list(values) != sorted(values):
                raise SchemaError(f"{path}.numbers.{name}", f"must be 1 to {MOST_VALUES} values in ascending order")
        for name, counts in self.categories.items():
            if name not in CATEGORY_FEATURES:
                raise SchemaError(f"{path}.categories.{name}", "is not a feature")
            if not 1 <= len(counts) <= MOST_CATEGORIES or min(counts.values()) < 1:
                raise SchemaError(f"{path}.categories.{name}", f"must be 1 to {MOST_CATEGORIES} counts above 0")

    def fits(self, recipe: Recipe, weights_digest: str) -> bool:
        """Return whether it was made with these weights, this preprocessing and this temperature."""
        wanted = (weights_digest, preprocessing_digest(recipe), recipe.temperature)
        return (self.weights_digest, self.preprocessing_digest, self.temperature) == wanted


def parse_drift_reference(content: bytes, recipe: Recipe, weights_digest: str) -> DriftReference:
    """Return the reference of its file's bytes.

    Raises:
        GlioserveError: GLIO-5102 where it does not fit its schema, or belongs to another network.
    """
    try:
        reference = from_dict(DriftReference, json.loads(content), DRIFT_REFERENCE_FILE)
    except (ValueError, SchemaError) as error:
        raise GlioserveError(ErrorCode.INVALID_ARTIFACT, f"{DRIFT_REFERENCE_FILE} cannot be read: {error}.") from error
    if not reference.fits(recipe, weights_digest):
        raise GlioserveError(
            ErrorCode.INVALID_ARTIFACT,
            f"{DRIFT_REFERENCE_FILE} was made with other weights, another preprocessing or another temperature.",
            "Make it again for this network: `glioserve drift reference`.",
        )
    return reference
