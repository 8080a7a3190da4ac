"""Figures of how far one set of answers lies from another, for a variant's gate and a TensorRT plan's check.

NumPy alone: it also runs where there is neither torch nor onnx.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.facts.variants import ComparisonRecord
from glioserve_contract.records.recipe import Recipe, VariantLimits
from glioserve_contract.rounding import at_least, at_most
from glioserve_export.graphs.probes import Array

NOTHING = 1e-6
"""Share of the study's largest value in either class's reference map below which a map shows nothing.

A map that is nowhere above it is empty, and a map whose values differ by no more than this share of its largest is
flat. Rounding in 32 bits stays below."""
TIE = 1e-5
"""Voxels of the reference within this share of its largest value are the same peak: which of them wins is rounding."""


@dataclass(frozen=True)
class Comparison:
    """Figures over all studies.

    SCORE and labels are those after the recipe's temperature, by its threshold; maps are those of the class that the
    reference predicts.

    The correlation is Pearson's over a map's voxels. Where it is undefined: an empty map (zero everywhere) shows
    nothing and a flat one shows no place, so two of the same kind agree (1) and two of different kinds do not (0).
    """

    studies: int
    max_probability_drift: float
    """Largest difference of SCORE; infinite where an answer is not finite."""
    label_flips: int
    min_heatmap_correlation: float
    median_heatmap_correlation: float
    same_peak: float
    """Share of studies whose map has its largest value where the reference has (:data:`TIE`)."""
    not_finite: int = 0
    """Studies with an infinity or a NaN in logits or map: flips, of correlation 0."""

    def problems(self, limits: VariantLimits) -> list[str]:
        """Return what lies beyond the limits, each with its figure; empty where it may serve."""
        found = []
        if self.not_finite:
            found.append(f"{self.not_finite} of {self.studies} studies have answers that are not finite")
        if not at_most(self.max_probability_drift, limits.max_probability_drift):
            found.append(f"SCORE drifts by {self.max_probability_drift:.2g} (at most {limits.max_probability_drift:g})")
        if self.label_flips > limits.max_label_flips:
            found.append(f"{self.label_flips} labels flip (at most {limits.max_label_flips})")
        if not at_least(self.min_heatmap_correlation, limits.min_heatmap_correlation):
            found.append(
                f"the worst heat map correlates at {self.min_heatmap_correlation:.4f} "
                f"(at least {limits.min_heatmap_correlation:g})"
            )
        if not at_least(self.same_peak, limits.min_same_peak):
            found.append(f"{self.same_peak:.1%} of heat maps keep their peak (at least {limits.min_same_peak:.1%})")
        return found

    def check(self, name: str, limits: VariantLimits) -> None:
        """Raise GLIO-5118 with all figures beyond the limits; ``name`` says what was compared (``fp16``)."""
        problems = self.problems(limits)
        if problems:
            raise GlioserveError(
                ErrorCode.VARIANT_REFUSED, f"{name}, over {self.studies} studies: {'; '.join(problems)}."
            )

    def record(self) -> ComparisonRecord:
        """Return the figures as a manifest keeps them; a drift that is not finite is left out."""
        finite = math.isfinite(self.max_probability_drift)
        return ComparisonRecord(**{**asdict(self), **({} if finite else {"max_probability_drift": None})})

    def __str__(self) -> str:
        return (
            f"SCORE within {self.max_probability_drift:.1e}, {self.label_flips} flips, heat maps "
            f"{self.min_heatmap_correlation:.4f} at least and {self.median_heatmap_correlation:.4f} in the middle, "
            f"{self.same_peak:.0%} same peak, {self.studies} studies"
        )


def compare(recipe: Recipe, reference_logits: Array, reference_cam: Array, logits: Array, cam: Array) -> Comparison:
    """Compare answers to the same studies, in the same order: logits [n, 2] and CAM [n, 2, d, h, w] of both.

    GLIO-5118 where the shapes are not the reference's; ValueError for a reference that is empty or not finite.
    """
    if len(reference_logits) == 0 or not (np.isfinite(reference_logits).all() and np.isfinite(reference_cam).all()):
        raise ValueError("the reference has no studies, or answers that are not finite")
    if logits.shape != reference_logits.shape or cam.shape != reference_cam.shape:
        raise GlioserveError(
            ErrorCode.VARIANT_REFUSED,
            f"LOGITS {logits.shape} and CAM {cam.shape} where fp32 gives {reference_logits.shape} and "
            f"{reference_cam.shape}.",
        )
    finite = np.isfinite(logits).all(axis=1) & np.isfinite(cam).reshape(len(cam), -1).all(axis=1)
    wanted = scores(recipe, reference_logits)
    found = scores(recipe, np.where(finite[:, None], logits, 0))
    labels, found_labels = wanted >= recipe.threshold, found >= recipe.threshold
    explained = np.where(labels, recipe.recurrence_index, 1 - recipe.recurrence_index)
    pairs = [
        _maps(reference_cam[i, c], cam[i, c], float(np.abs(reference_cam[i]).max())) if finite[i] else (0.0, False)
        for i, c in enumerate(explained)
    ]
    correlations = np.array([correlation for correlation, _ in pairs])
    return Comparison(
        studies=len(pairs),
        max_probability_drift=float(np.abs(found - wanted).max()) if finite.all() else math.inf,
        label_flips=int(((labels != found_labels) | ~finite).sum()),
        min_heatmap_correlation=float(correlations.min()),
        median_heatmap_correlation=float(np.median(correlations)),
        same_peak=float(np.mean([peak for _, peak in pairs])),
        not_finite=int((~finite).sum()),
    )


def scores(recipe: Recipe, logits: Array) -> npt.NDArray[np.float64]:
    """Return SCORE [n] of logits [n, 2]: the probability of recurrence after the recipe's temperature."""
    scaled = logits.astype(np.float64) / recipe.temperature
    other = scaled[:, 1 - recipe.recurrence_index] - scaled[:, recipe.recurrence_index]
    score: npt.NDArray[np.float64] = np.exp(-np.logaddexp(0, other))
    return score


def _maps(reference: Array, found: Array, scale: float) -> tuple[float, bool]:
    """Return (correlation, same peak) of two finite maps [d, h, w]; ``scale`` of the study's maps."""
    kinds = _kind(reference, scale), _kind(found, scale)
    if kinds != ("map", "map"):
        return (1.0, True) if kinds[0] == kinds[1] else (0.0, False)
    a, b = (m.astype(np.float64).ravel() / float(m.max()) for m in (reference, found))
    same = bool(a[b.argmax()] >= 1 - TIE)
    a, b = a - a.mean(), b - b.mean()
    return float(np.clip(a @ b / math.sqrt(float(a @ a) * float(b @ b)), -1, 1)), same


def _kind(cam: Array, scale: float) -> str:
    top = float(cam.max())
    if top <= NOTHING * scale:
        return "empty"
    return "flat" if top - float(cam.min()) <= NOTHING * top else "map"
