"""The rule by which a feature is flagged, and its errors.

A stream of studies is looked at again after each one, in two windows, on every feature. The bound of each single look
is the share of one false flag in a million studies that falls to it, so the sum over all looks holds whatever their
dependence: with the distance's own bound no feature of a stable site is flagged in a million studies, on average. The
reference is a sample itself, and the bound has its size in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from glioserve_contract.metrics.drift import DRIFT_WINDOWS as WINDOWS
from glioserve_contract.records.studies.drift import DriftReference
from glioserve_watch.drift.distance import (
    Numbers,
    chance_of,
    ks_distance,
    psi_of_numbers,
    psi_of_words,
    share_distance,
)

MIN_STUDIES = 20
"""Studies with a feature below which its drift is not judged."""
FALSE_FLAGS_PER_STUDY = 1e-6
"""Bound on the expected number of false flags for each study of one site and version, over all features."""
CLEAR_CHANCE = 1e-2
"""A flag stays until the distance is one that chance alone gives that often, so that it does not flicker."""
MIN_PSI = 0.25
"""Stability index from which on a change counts as large; a smaller one is not flagged, however sure it is."""


@dataclass(frozen=True)
class Drifted:
    """One feature in one window."""

    psi: float
    """Population stability index."""
    ks: float
    """Kolmogorov and Smirnov's distance, 0 to 1; of words the largest difference of a share."""
    studies: int
    """Studies of the window that have the feature."""
    chance: float
    """Bound on the chance of the distance at a single look, where nothing has changed."""


def limit_of(features: int, false_flags_per_study: float = FALSE_FLAGS_PER_STUDY) -> float:
    """Return the chance below which a single look flags one of so many features in one window."""
    return false_flags_per_study / (features * len(WINDOWS))


def compare_numbers(reference: Numbers, values: Numbers) -> Drifted | None:
    """Compare values FP64 [n], NaN where a study has none, with a reference FP64 [m], ascending; None for too few."""
    sample = np.sort(values[~np.isnan(values)])
    if len(sample) < MIN_STUDIES:
        return None
    ks = ks_distance(reference, sample)
    chance = chance_of(ks, len(reference), len(sample))
    return Drifted(psi_of_numbers(reference, sample), ks, len(sample), chance)


def compare_words(reference: dict[str, int], counts: dict[str, int]) -> Drifted | None:
    """Compare counts by word with a reference's; None for too few."""
    n = sum(counts.values())
    if n < MIN_STUDIES:
        return None
    distance = share_distance(reference, counts)
    chance = chance_of(distance, sum(reference.values()), n, comparisons=len({*reference, *counts}))
    return Drifted(psi_of_words(reference, counts), distance, n, chance)


def is_flagged(found: Drifted, reference: DriftReference, was_flagged: bool) -> bool:
    """Return whether a feature is flagged, now that it was compared again."""
    if was_flagged:
        return found.chance < CLEAR_CHANCE
    features = len(reference.numbers) + len(reference.categories)
    return found.psi >= MIN_PSI and found.chance < limit_of(features)
