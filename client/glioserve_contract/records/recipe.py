"""The recipe: everything about a trained network that preprocessing, export and the report must know.

It travels with the weights (``recipe.json`` beside them) and is copied into every exported version.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from glioserve_contract.codec import Digest, SchemaError, canonical_json, from_dict, is_sha256_digest, sha256_digest
from glioserve_contract.errors import ErrorCode, GlioserveError
from glioserve_contract.records.brain_model import DEFAULT_BRAIN_DIGEST, DEFAULT_BRAIN_MODEL, is_model_file_name
from glioserve_contract.records.facts.provenance import ProvenanceRecord
from glioserve_contract.records.version_1 import recipe_of_1
from glioserve_contract.sequences import REGISTRATION_ORDER, SEQUENCES, Modality

RecipeSchema = Literal["glioserve/recipe/2"]
RECIPE_SCHEMA: RecipeSchema = "glioserve/recipe/2"
CLASSES = ("necrosis", "recurrence")
"""The two diagnoses. A recipe states the order of its network's outputs; SCORE is always recurrence's."""
DEFAULT_PERCENTILES = (0.5, 99.5)
"""Percentiles of a recipe that names the method ``percentile`` and none, in percent."""
DEFAULT_BRAIN_METHOD: Literal["network", "classical"] = "network"
"""Method of a recipe that does not name one."""


@dataclass(frozen=True)
class Architecture:
    """A network of the exporter's registry (``resnet10``) and the keyword options it is built with."""

    name: str
    """Name of the network in the exporter's registry."""
    options: dict[str, object] = field(default_factory=dict)
    """Keyword options of the network's builder: scalars and lists of scalars."""


@dataclass(frozen=True)
class Grid:
    """The network's input grid: LPS-aligned axes, centred on the brain mask's centroid.

    ``size_voxels`` and ``spacing_mm`` are in (x, y, z) order; the IMAGE tensor is [C, D, H, W] = [C, z, y, x].
    """

    size_voxels: tuple[int, int, int] = (96, 96, 96)
    """Voxels along (x, y, z), each 8 to 512."""
    spacing_mm: tuple[float, float, float] = (2.0, 2.0, 2.0)
    """Spacing along (x, y, z) in mm, each 0.2 to 10."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (D, H, W) of the tensor."""
        x, y, z = self.size_voxels
        return z, y, x

    def check(self, path: str) -> None:
        """Raise SchemaError for sizes outside 8 to 512 voxels and spacings outside 0.2 to 10 mm."""
        if not all(8 <= n <= 512 for n in self.size_voxels):
            raise SchemaError(f"{path}.size_voxels", f"each must be 8 to 512, not {self.size_voxels}")
        if not all(0.2 <= s <= 10 for s in self.spacing_mm):
            raise SchemaError(f"{path}.spacing_mm", f"each must be 0.2 to 10, not {self.spacing_mm}")


@dataclass(frozen=True)
class Intensity:
    """Scaling of each sequence's intensities to [0, 1] inside the mask, on the network's grid; 0 outside it.

    ``minmax`` takes the smallest and the largest value there to 0 and 1. ``percentile`` takes two percentiles of
    the values there to 0 and 1, and what lies beyond is clipped: a few hot voxels cannot darken the rest.
    """

    method: Literal["minmax", "percentile"] = "minmax"
    """Values that become 0 and 1."""
    percentiles: tuple[float, float] | None = None
    """Low and high percentile, in percent, for ``percentile`` alone; 0.5 and 99.5 where none are given."""

    def __post_init__(self) -> None:
        if self.method == "percentile" and self.percentiles is None:  # one spelling, so one digest
            object.__setattr__(self, "percentiles", DEFAULT_PERCENTILES)

    def check(self, path: str) -> None:
        """Raise SchemaError unless 0 <= low < high <= 100, or for percentiles where the method takes none."""
        if self.percentiles is None:
            return
        if self.method != "percentile":
            raise SchemaError(f"{path}.percentiles", f"is only for the method 'percentile', not {self.method!r}")
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise SchemaError(f"{path}.percentiles", f"must be 0 <= low < high <= 100, not {self.percentiles}")


@dataclass(frozen=True)
class BrainExtraction:
    """Method by which the brain mask is made on the reference.

    ``network`` runs the brain model of the file ``model`` (:mod:`glioserve_contract.records.brain_model`), held to its
    ``digest``; ours where neither is given. ``classical`` needs no weights and takes neither.
    """

    method: Literal["network", "classical"] = DEFAULT_BRAIN_METHOD
    """A brain model, or the method without weights."""
    model: str | None = None
    """File name of the ONNX file, without a folder: the server knows the folder."""
    digest: Digest | None = None
    """``sha256:…`` of the ONNX file and its card (:func:`brain_model_digest`)."""

    def __post_init__(self) -> None:
        if self.method == "network" and self.model is None and self.digest is None:  # one spelling, so one digest
            object.__setattr__(self, "model", DEFAULT_BRAIN_MODEL)
            object.__setattr__(self, "digest", DEFAULT_BRAIN_DIGEST)

    def check(self, path: str) -> None:
        """Raise SchemaError unless ``network`` has a plain file name and a digest, and ``classical`` neither."""
        if self.method == "classical":
            for name in ("model", "digest"):
                if getattr(self, name) is not None:
                    raise SchemaError(f"{path}.{name}", "is only for the method 'network', not 'classical'")
            return
        if self.model is None or not is_model_file_name(self.model):
            raise SchemaError(f"{path}.model", f"must be a plain file name that ends in .onnx, not {self.model!r}")
        if self.digest is None or not is_sha256_digest(self.digest):
            raise SchemaError(f"{path}.digest", "must be 'sha256:' and 64 hex digits")


@dataclass(frozen=True)
class VariantLimits:
    """Limits within which another precision must answer as the fp32 ONNX does on a calibration set.

    A variant (fp16, bf16, int8) beyond any of them is refused (GLIO-5118). Labels are those of the recipe's
    temperature and threshold; heat maps are compared for the predicted class.
    """

    max_probability_drift: float = 0.02
    """Largest difference of SCORE over all studies, 0 to 1."""
    max_label_flips: int = 0
    """Number of studies whose label may change."""
    min_heatmap_correlation: float = 0.98
    """Lowest Pearson's correlation over CAM's voxels in the worst study, 0 to 1."""
    min_same_peak: float = 0.95
    """Lowest share of studies whose CAM peaks in the same voxel, 0 to 1."""

    def check(self, path: str) -> None:
        """Raise SchemaError for a share or a correlation outside 0 to 1, or a negative number of flips."""
        for name in ("max_probability_drift", "min_heatmap_correlation", "min_same_peak"):
            if not 0 <= getattr(self, name) <= 1:
                raise SchemaError(f"{path}.{name}", f"must be 0 to 1, not {getattr(self, name)}")
        if self.max_label_flips < 0:
            raise SchemaError(f"{path}.max_label_flips", f"must not be negative, is {self.max_label_flips}")


@dataclass(frozen=True)
class ReferenceCase:
    """A study whose answer is known from where the network was trained: ``reference_case.npz`` beside the recipe.

    Swapped channels or classes invert answers without a sign of it; this catches them, at export and at load. Its
    ``image`` is what the network is shown (FP32 [C, D, H, W]); never one of a patient who has not agreed.
    """

    digest: Digest
    """``sha256:…`` of ``reference_case.npz``."""
    score: float
    """Probability of recurrence that the network gives there, before the recipe's temperature, 0 to 1."""
    tolerance: float = 0.01
    """Largest distance from ``score`` that is allowed, above 0 and at most 0.1."""

    def check(self, path: str) -> None:
        """Raise SchemaError for values out of their bounds, or a score that swapped classes would give too."""
        if not is_sha256_digest(self.digest):
            raise SchemaError(f"{path}.digest", "must be 'sha256:' and 64 hex digits")
        if not 0 <= self.score <= 1:
            raise SchemaError(f"{path}.score", f"must be 0 to 1, not {self.score}")
        if not 0 < self.tolerance <= 0.1:
            raise SchemaError(f"{path}.tolerance", f"must be above 0 and at most 0.1, not {self.tolerance}")
        if abs(2 * self.score - 1) <= 2 * self.tolerance:
            raise SchemaError(f"{path}.score", f"{self.score} is so near to 0.5 that swapped classes would pass")


@dataclass(frozen=True)
class Recipe:
    """Everything about a trained network that preprocessing, export and the report must know."""

    schema: RecipeSchema
    """Name and version of this schema."""
    name: str
    """Name of the model for reports and lists, in ASCII."""
    architecture: Architecture
    """The network that the weights belong to."""
    channels: tuple[Modality, ...]
    """Sequences of the network's input, in the network's own order."""
    classes: tuple[str, str]
    """The two diagnoses in the network's own order: ``necrosis`` and ``recurrence``, or the reverse."""
    grid: Grid = field(default_factory=Grid)
    """The network's input grid."""
    min_slices: int = 32
    """Fewest slices of a series that is used, 1 to 1024."""
    intensity: Intensity = field(default_factory=Intensity)
    """Scaling of intensities to [0, 1]."""
    brain_extraction: BrainExtraction = field(default_factory=BrainExtraction)
    """Method by which the brain mask is made."""
    threshold: float = 0.5
    """Threshold on SCORE, between 0 and 1: LABEL is recurrence iff SCORE >= threshold. Necrosis is the study's positive
    class, so more sensitivity to necrosis means a *higher* threshold."""
    temperature: float = 1.0
    """Divisor of the logits before the softmax, 0.01 to 100."""
    heatmap: Literal["gradcam", "gradcam++", "none"] = "gradcam"
    """Weighing of CAM. Grad-CAM++ (Chattopadhay 2018) only where the graph has it exactly (GLIO-5106); ``none``
    for a network whose gradient cannot be had."""
    variant_limits: VariantLimits = field(default_factory=VariantLimits)
    """Limits within which other precisions must answer as fp32 does."""
    reference_case: ReferenceCase | None = None
    """A study whose answer is known; absent where there is none."""
    provenance: ProvenanceRecord = field(default_factory=ProvenanceRecord)
    """Origin of the weights and figures, with free notes; never patient data."""

    def check(self, path: str) -> None:
        """Raise SchemaError for values out of their bounds and for channels or classes named twice."""
        if not self.name or not self.name.isascii():
            raise SchemaError(f"{path}.name", "must be a non-empty ASCII string")
        if not self.channels or len(set(self.channels)) != len(self.channels):
            raise SchemaError(f"{path}.channels", f"must name 1 to {len(SEQUENCES)} different sequences")
        if sorted(self.classes) != sorted(CLASSES):
            raise SchemaError(f"{path}.classes", f"must be {CLASSES} in the network's order, not {self.classes}")
        if not 1 <= self.min_slices <= 1024:
            raise SchemaError(f"{path}.min_slices", f"must be 1 to 1024, not {self.min_slices}")
        if not 0 < self.threshold < 1:
            raise SchemaError(f"{path}.threshold", f"must lie between 0 and 1, not {self.threshold}")
        if not 0.01 <= self.temperature <= 100:
            raise SchemaError(f"{path}.temperature", f"must be 0.01 to 100, not {self.temperature}")

    @property
    def reference(self) -> Modality:
        """The sequence that the others are registered to."""
        return next(m for m in REGISTRATION_ORDER if m in self.channels)

    @property
    def recurrence_index(self) -> int:
        """Index of the network's output that is recurrence."""
        return self.classes.index("recurrence")

    def with_min_slices(self, min_slices: int) -> Recipe:
        """Return the recipe with another slice rule; the change is written into the provenance.

        Args:
            min_slices: fewest slices of a series that is used, 1 to 1024.

        Raises:
            SchemaError: ``min_slices`` is out of its bounds.
        """
        overridden = replace(self.provenance, min_slices_overridden_from=self.min_slices)
        changed = replace(self, min_slices=min_slices, provenance=overridden)
        changed.check("recipe")
        return changed


def preprocessing_digest(recipe: Recipe) -> str:
    """Return ``sha256:…`` of the recipe's part that decides what the network is shown.

    Versions may share a running repository only where it is equal; ``min_slices`` is in it because the
    preprocessor applies one rule for all versions it feeds.
    """
    part = {
        "channels": recipe.channels,
        "grid": recipe.grid,
        "min_slices": recipe.min_slices,
        "intensity": recipe.intensity,
        "brain_extraction": recipe.brain_extraction,
    }
    return sha256_digest(canonical_json(part).encode())


def recipe_digest(recipe: Recipe) -> str:
    """Return ``sha256:…`` of the whole recipe: an evaluation is of one recipe and of no other."""
    return sha256_digest(canonical_json(recipe).encode())


def parse_recipe(value: object) -> Recipe:
    """Return the recipe of JSON values.

    Args:
        value: plain JSON values of schema ``glioserve/recipe/2`` or of version 1, which is converted.

    Raises:
        InvalidRecipeError: GLIO-5101; the message names the key that is wrong.
    """
    try:
        return from_dict(Recipe, recipe_of_1(value))
    except SchemaError as error:
        raise GlioserveError(ErrorCode.INVALID_RECIPE, f"{error}.") from error
