"""Limits of a variant that all of them keep, and that none does."""

from __future__ import annotations

from glioserve_contract.records.recipe import VariantLimits

LAX = VariantLimits(max_probability_drift=1, max_label_flips=1000, min_heatmap_correlation=0, min_same_peak=0)
STRICT = VariantLimits(max_probability_drift=0, min_heatmap_correlation=1, min_same_peak=1)
"""Limits that a variant does not meet."""
