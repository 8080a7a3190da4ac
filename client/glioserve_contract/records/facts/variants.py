"""``variants`` of a manifest and ``check_figures`` of a plan: how far other precisions stray from the fp32 graph."""

from __future__ import annotations

from dataclasses import dataclass

from glioserve_contract.records.recipe import VariantLimits


@dataclass(frozen=True)
class ComparisonRecord:
    """Figures of one set of answers against the fp32 graph's, over all studies."""

    studies: int
    """Number of studies that were compared."""
    max_probability_drift: float | None
    """Largest difference of SCORE; absent where an answer is not finite."""
    label_flips: int
    """Number of studies whose label changes."""
    min_heatmap_correlation: float
    """Pearson's correlation of the CAMs' voxels in the worst study, -1 to 1."""
    median_heatmap_correlation: float
    """Pearson's correlation of the CAMs' voxels in the middle study, -1 to 1."""
    same_peak: float
    """Share of studies whose CAM peaks where the fp32 graph's does, 0 to 1."""
    not_finite: int = 0
    """Number of studies with an infinity or a NaN in logits or map."""


@dataclass(frozen=True)
class VariantRecord:
    """Another precision of the network, which its gate passed."""

    file: str
    """Name of its file beside the manifest."""
    runtime: str
    """Runtime that answered in the gate, with its version."""
    figures: ComparisonRecord
    """Its answers against the fp32 graph's on the calibration set."""
    limits: VariantLimits
    """The recipe's limits that it was held to."""
    subnormal_share: float | None = None
    """Share of fp16 weights below fp16's normal range, 0 to 1; absent from other precisions."""
    ranges_from_studies: int | None = None
    """Number of studies that int8's ranges come from; absent from other precisions."""
