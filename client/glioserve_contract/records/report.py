"""The JSON that travels: ``PREPROCESS`` (what was done to the study) and ``REPORT`` (the whole answer).

Both are frozen dataclasses; :func:`glioserve_contract.to_dict` and ``from_dict`` carry them over the wire.
Units stand in the names; every affine is row-major 4 x 4 in mm, target first (``lps_from_voxel``), and takes
voxel indices in (x, y, z) order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from glioserve_contract.modality import Modality
from glioserve_contract.records.recipe import Recipe

Vector = tuple[float, float, float]
Row = tuple[float, float, float, float]
Affine = tuple[Row, Row, Row, Row]
Verdict = Literal["ok", "review"]


@dataclass(frozen=True)
class GridRecord:
    """A rectangular voxel grid in the patient's LPS space."""

    size_voxels: tuple[int, int, int]
    """(x, y, z)."""
    lps_from_voxel: Affine


@dataclass(frozen=True)
class RunnerUpRecord:
    """A series that would have fitted the sequence too, and why another was taken."""

    series_instance_uid: str
    part: str
    slices: int
    score: float
    """0 to 1: how well the evidence fits."""
    why_not: str


@dataclass(frozen=True)
class SeriesRecord:
    """One series that was used, and why it was taken for this sequence."""

    modality: Modality
    series_instance_uid: str
    """As the request carried it (the client's are pseudonyms). Empty for volumes."""
    slices: int
    spacing_mm: Vector
    """In (column, row, slice) = voxel (x, y, z) order."""
    confidence: float
    """0 to 1: how well the evidence fits; 1 where the caller named the series."""
    reasons: tuple[str, ...]
    part: str = ""
    """What sets it apart within its series (``echo 2``); empty when it is the whole."""
    runners_up: tuple[RunnerUpRecord, ...] = ()


@dataclass(frozen=True)
class RegistrationRecord:
    """The rigid transform that carries reference-space points to this sequence's own space."""

    modality: Modality
    moving_lps_from_reference_lps: Affine
    similarity: float
    """Mutual information in nats, after, times the overlap."""
    similarity_before: float
    """The same at the header position."""
    mean_displacement_mm: float
    """Mean distance that brain voxels moved from the header position."""
    verdict: Verdict = "ok"
    """Of the gain in similarity and of the three figures below; their ranges are in ``quality``."""
    contrast: float = 0.0
    """Similarity over the highest one 15 mm away in any of the six parameters."""
    overlap: float = 0.0
    """Share of the reference's head that lies in this sequence's field of view."""
    rival: float = 0.0
    """Similarity of another position that a second search found, over this one's; 0 where it found the same."""
    second_start_mm: float = 0.0
    """Mean distance over the head between the two searches' results."""


@dataclass(frozen=True)
class QualityCheck:
    """One figure and its verdict: ``review`` when it lies outside [low, high]."""

    name: str
    value: float
    unit: str
    low: float
    high: float
    verdict: Verdict


@dataclass(frozen=True)
class Quality:
    """``review`` when any check is; the report then abstains from a label."""

    verdict: Verdict
    checks: tuple[QualityCheck, ...]


@dataclass(frozen=True)
class SequenceProvenance:
    """How one channel of the network's input was computed from its native voxels.

    The whole computation: sample the native voxels once at the network grid's points, carried by
    ``native_lps_from_reference_lps``, smoothed by ``smoothing_sigma_mm``; then ``(value - low) / (high - low)``,
    clipped to 0 to 1, inside the mask.
    """

    modality: Modality
    series_instance_uid: str
    """As in :class:`SeriesRecord`."""
    native_grid: GridRecord
    """The native voxels' grid, its axes turned to point nearest to L, P and S."""
    voxels_sha256: str
    """``sha256:…`` of the native voxels on that grid: little-endian FP32 [z, y, x]."""
    native_lps_from_reference_lps: Affine
    """The registration; the identity for the reference."""
    smoothing_sigma_mm: Vector
    """Of the anti-aliasing Gaussian, along the native grid's (x, y, z)."""
    intensity_method: str
    low: float
    """Intensity that became 0."""
    high: float
    """Intensity that became 1."""


@dataclass(frozen=True)
class Provenance:
    """Enough to compute the network's input again, to the bit, from the native volumes and the native mask."""

    mask_sha256: str
    """``sha256:…`` of the brain mask on the reference's native grid: UINT8 [z, y, x]."""
    image_sha256: str
    """``sha256:…`` of the network's input: little-endian FP32 [C, D, H, W]."""
    sequences: tuple[SequenceProvenance, ...]
    """In the order of the network's channels."""
    software: dict[str, str]
    """Name to version of what computed it, and the machine's architecture."""


@dataclass(frozen=True)
class BrainRecord:
    """How the brain mask was made. Its figures are among the quality checks (``brain_...``)."""

    method: str
    """``network`` or ``classical``."""
    model: str
    """The network's name by its card; empty for the classical method."""
    digest: str
    """Of the network's two files, as the recipe has it; empty for the classical method."""
    sequences: tuple[Modality, ...]
    """Whose voxels the mask was made from: the reference alone, or all that voted because it was poor."""


@dataclass(frozen=True)
class PreprocessRecord:
    """What preprocessing did: the ``PREPROCESS`` tensor and the offline ``preprocess.json``."""

    contract_version: str
    preprocessing_digest: str
    reference: Modality
    reference_grid: GridRecord
    network_grid: GridRecord
    series: tuple[SeriesRecord, ...]
    registrations: tuple[RegistrationRecord, ...]
    quality: Quality
    warnings: tuple[str, ...] = ()
    timings_s: dict[str, float] = field(default_factory=dict)
    provenance: Provenance | None = None
    brain: BrainRecord | None = None


@dataclass(frozen=True)
class ModelRecord:
    """Which network answered. ``digest`` is that of its trained weights, returned by the graph itself."""

    name: str
    version: str
    digest: str
    architecture: str


@dataclass(frozen=True)
class HeatmapRecord:
    """About HEATMAP: Grad-CAM of the predicted class, restricted to the brain, scaled to a maximum of 1."""

    explained_class: str
    peak_lps_mm: Vector | None
    """Centre of the hottest voxel; None when the map is empty."""
    inside_brain: float
    """Share of the raw map's mass inside the brain mask, 0 to 1. The rest is not shown: the network's input
    is 0 there."""


@dataclass(frozen=True)
class Report:
    """The ``REPORT`` tensor: the whole answer but for the heat map's voxels."""

    contract_version: str
    notice: str
    score: float
    """Probability of recurrence after the recipe's temperature."""
    label: Literal["necrosis", "recurrence", ""]
    """Empty when the server abstains."""
    abstained_because: tuple[str, ...]
    probabilities: dict[str, float]
    threshold: float
    model: ModelRecord
    heatmap: HeatmapRecord | None
    quality: Quality
    series: tuple[SeriesRecord, ...]
    registrations: tuple[RegistrationRecord, ...]
    reference: Modality
    reference_grid: GridRecord
    network_grid: GridRecord
    warnings: tuple[str, ...]
    timings_s: dict[str, float]
    recipe: Recipe
    provenance: Provenance | None = None
    brain: BrainRecord | None = None
