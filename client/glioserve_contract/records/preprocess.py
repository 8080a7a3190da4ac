"""Record what preprocessing did to a study: the ``PREPROCESS`` tensor's JSON and the offline ``preprocess.json``.

:func:`glioserve_contract.to_dict` and ``from_dict`` carry it over the wire; the report holds it whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from glioserve_contract.codec import Digest
from glioserve_contract.records.grid import Affine, GridRecord, Vector
from glioserve_contract.records.studies.inputs import InputRecord
from glioserve_contract.rounding import at_least, at_most
from glioserve_contract.sequences import Modality, PixelKind

Verdict = Literal["ok", "review"]
NAMED_BY_CALLER = "named by the caller"
"""The first reason for a series that the request names."""


@dataclass(frozen=True)
class PixelOpinionRecord:
    """The opinion of the network that looks at voxels alone on what a series is."""

    kind: PixelKind | None
    """Kind of image that it looks like; None where no kind reaches its threshold."""
    likeliest: PixelKind
    """Kind of the largest share."""
    confidence: float
    """Calibrated share of the likeliest kind, 0 to 1."""
    threshold: float
    """Share from which on the likeliest kind counts."""


@dataclass(frozen=True)
class RunnerUpRecord:
    """A series that would also have fitted the sequence, and the reason why another was taken."""

    series_instance_uid: str
    """SeriesInstanceUID as the request carried it."""
    part: str
    """Words that set it apart within its series (``echo 2``); empty when it is the whole series."""
    slices: int
    """Number of slices."""
    score: float
    """Fit of the evidence, 0 to 1."""
    why_not: str
    """Reason that the other series was preferred."""
    reasons: tuple[str, ...] = ()
    """Evidence of what it is, in words."""


@dataclass(frozen=True)
class SeriesRecord:
    """One series that was used, and why it was taken for this sequence."""

    modality: Modality
    """Sequence that the series stands for."""
    series_instance_uid: str
    """SeriesInstanceUID as the request carried it (the client's are pseudonyms); empty for volumes."""
    slices: int
    """Number of slices."""
    spacing_mm: Vector
    """Spacing along (column, row, slice), which is voxel (x, y, z) order, in mm."""
    confidence: float
    """Fit of the evidence, 0 to 1; 1 where the caller named the series."""
    reasons: tuple[str, ...]
    """Evidence that led to the choice, in words."""
    part: str = ""
    """Words that set it apart within its series (``echo 2``); empty when it is the whole series."""
    runners_up: tuple[RunnerUpRecord, ...] = ()
    """Series that would have fitted too, best first."""
    pixels: PixelOpinionRecord | None = None
    """Second opinion by voxels; None where it was not asked."""


@dataclass(frozen=True)
class RegistrationRecord:
    """The rigid transform that carries reference-space points to this sequence's own space."""

    modality: Modality
    """Sequence that was registered to the reference."""
    moving_lps_from_reference_lps: Affine
    """Rigid transform of points, in mm, LPS on both sides."""
    similarity: float
    """Mutual information in nats, after registration, times the overlap."""
    similarity_before: float
    """Mutual information in nats times the overlap at the header position."""
    mean_displacement_mm: float
    """Mean distance that brain voxels moved from the header position, in mm."""
    verdict: Verdict = "ok"
    """Verdict on the gain in similarity and on the three figures below; their ranges are in ``quality``."""
    contrast: float = 0.0
    """Similarity over the highest one 8 mm away in any of the six parameters."""
    overlap: float = 0.0
    """Share of the reference's head that lies in this sequence's field of view, 0 to 1."""
    rival: float = 0.0
    """Similarity of another position that a second search found, over this one's; 0 where it found the same."""
    second_start_mm: float = 0.0
    """Mean distance over the head between the two searches' results, in mm."""


@dataclass(frozen=True)
class QualityCheck:
    """One figure and its verdict: ``review`` when it lies outside [low, high]."""

    name: str
    """Name of the figure, in snake case."""
    value: float
    """The figure, in ``unit``."""
    unit: str
    """Unit of ``value``, ``low`` and ``high``."""
    low: float
    """Lowest value that needs no review."""
    high: float
    """Highest value that needs no review."""
    verdict: Verdict
    """``review`` when ``value`` lies outside [low, high]."""

    @classmethod
    def judged(cls, name: str, value: float, unit: str, usual: tuple[float, float]) -> QualityCheck:
        """Return the check of one figure against its ``usual`` range, both ends included.

        A value that only rounding carries out of the range is set to its end, so that a reader who compares ``value``
        with ``low`` and ``high`` finds the same verdict.
        """
        low, high = usual
        usual_value = at_least(value, low) and at_most(value, high)
        if usual_value:
            value = min(max(value, low), high)
        return cls(name, value, unit, low, high, "ok" if usual_value else "review")


@dataclass(frozen=True)
class Quality:
    """All quality checks; the report abstains from a label when any of them asks for a review."""

    verdict: Verdict
    """``review`` when any check is."""
    checks: tuple[QualityCheck, ...]
    """Every figure that was judged."""


@dataclass(frozen=True)
class SequenceProvenance:
    """Computation of one channel of the network's input from its native voxels.

    The whole computation: sample the native voxels once at the network grid's points, carried by
    ``native_lps_from_reference_lps``, smoothed by ``smoothing_sigma_mm``; then ``(value - low) / (high - low)``,
    clipped to 0 to 1, inside the mask.
    """

    modality: Modality
    """Sequence of the channel."""
    series_instance_uid: str
    """SeriesInstanceUID as the request carried it (the client's are pseudonyms); empty for volumes."""
    native_grid: GridRecord
    """Grid of the native voxels, its axes turned to point nearest to L, P and S."""
    voxels_sha256: Digest
    """``sha256:…`` of the native voxels on that grid: little-endian FP32 [z, y, x]."""
    native_lps_from_reference_lps: Affine
    """The registration's transform of points, in mm; the identity for the reference."""
    smoothing_sigma_mm: Vector
    """Standard deviation of the anti-aliasing Gaussian along the native grid's (x, y, z), in mm."""
    intensity_method: str
    """Method of the recipe's intensities: ``minmax`` or ``percentile``."""
    low: float
    """Intensity that became 0."""
    high: float
    """Intensity that became 1."""


@dataclass(frozen=True)
class Provenance:
    """Enough to compute the network's input again, to the bit, from the native volumes and the native mask."""

    mask_sha256: Digest
    """``sha256:…`` of the brain mask on the reference's native grid: UINT8 [z, y, x]."""
    image_sha256: Digest
    """``sha256:…`` of the network's input: little-endian FP32 [C, D, H, W]."""
    sequences: tuple[SequenceProvenance, ...]
    """One entry for each channel, in the order of the network's channels."""
    software: dict[str, str]
    """Name to version of what computed it, and the machine's architecture."""


@dataclass(frozen=True)
class BrainRecord:
    """Origin of the brain mask. Its figures are among the quality checks (``brain_...``)."""

    method: str
    """``network`` or ``classical``."""
    model: str
    """The network's name by its card; empty for the classical method."""
    digest: str
    """Digest of the network's two files, as the recipe has it; empty for the classical method."""
    sequences: tuple[Modality, ...]
    """Sequences that the mask was made from: the reference alone, or all that voted because it was poor."""


@dataclass(frozen=True)
class PreprocessRecord:
    """Record of what preprocessing did: the ``PREPROCESS`` tensor and the offline ``preprocess.json``."""

    contract_version: str
    """Semantic version of the contract under which it was written."""
    preprocessing_digest: Digest
    """``sha256:…`` of the recipe's part that decides what the network is shown."""
    reference: Modality
    """Sequence that the others were registered to."""
    reference_grid: GridRecord
    """The reference series' own grid, on which HEATMAP lies."""
    network_grid: GridRecord
    """Grid of the network's input."""
    series: tuple[SeriesRecord, ...]
    """The series that were used, one for each sequence."""
    registrations: tuple[RegistrationRecord, ...]
    """One registration for each sequence but the reference."""
    quality: Quality
    """Checks of the input, the registrations and the brain mask."""
    warnings: tuple[str, ...] = ()
    """Remarks of preprocessing, for a reader."""
    timings_s: dict[str, float] = field(default_factory=dict)
    """Wall seconds per stage of preprocessing."""
    provenance: Provenance | None = None
    """Computation of the network's input; absent from records of contract 1.0."""
    brain: BrainRecord | None = None
    """Origin of the brain mask; absent from records of contract 1.0."""
    inputs: InputRecord | None = None
    """Scanner and intensities of the input; absent from records before contract 2.1."""
    input_digest: Digest | None = None
    """``sha256:…`` of the request's files or volumes, in whatever order they came; absent where no study log is kept,
    and from records before contract 2.1."""
