"""Distances between two samples: the population stability index and Kolmogorov and Smirnov's, with its bound."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

PSI_BINS = 10
"""Bins of the stability index, each with about the same share of the reference."""
_PSEUDO_COUNT = 0.5
"""Studies that are added to each bin of both sides, so that an empty bin has a finite index."""


def ks_distance(reference: Numbers, sample: Numbers) -> float:
    """Return the largest distance between the two empirical distribution functions.

    Args:
        reference: FP64 [m], ascending.
        sample: FP64 [n], ascending.
    """
    points = np.concatenate([reference, sample])
    below_reference = np.searchsorted(reference, points, side="right") / len(reference)
    below_sample = np.searchsorted(sample, points, side="right") / len(sample)
    return float(np.abs(below_reference - below_sample).max())


def share_distance(reference: Mapping[str, int], sample: Mapping[str, int]) -> float:
    """Return the largest difference of a word's share, which is the distance of that word's 0 and 1."""
    m, n = sum(reference.values()), sum(sample.values())
    return max(abs(reference.get(w, 0) / m - sample.get(w, 0) / n) for w in {*reference, *sample})


def chance_of(distance: float, m: int, n: int, comparisons: int = 1) -> float:
    """Return a bound on the chance that samples of ``m`` and ``n`` of one distribution lie so far apart.

    It is Dvoretzky, Kiefer and Wolfowitz' bound for two samples with e as its factor (Wei and Dudley, Statistics &
    Probability Letters 82, 2012), which holds for every distribution, with ties too.
    """
    return min(1.0, comparisons * math.exp(1.0 - 2.0 * distance * distance * m * n / (m + n)))


def psi_bins(reference: Numbers, bins: int = PSI_BINS) -> Numbers:
    """Return the inner edges of bins that hold about equal shares of ``reference`` FP64 [m], ascending."""
    edges: Numbers = np.unique(np.quantile(reference, np.arange(1, bins) / bins, method="inverted_cdf"))
    return edges


def psi_of_numbers(reference: Numbers, sample: Numbers) -> float:
    """Return the stability index of two samples in the bins of the reference; a value on an edge is below it."""
    edges = psi_bins(reference)
    counts = [np.bincount(np.searchsorted(edges, side, side="left"), minlength=len(edges) + 1)
              for side in (reference, sample)]  # fmt: skip
    return psi(counts[0].astype(np.float64), counts[1].astype(np.float64))


def psi_of_words(reference: Mapping[str, int], sample: Mapping[str, int]) -> float:
    """Return the stability index of two counts by word."""
    words = sorted({*reference, *sample})
    return psi(*(np.array([side.get(w, 0) for w in words], dtype=np.float64) for side in (reference, sample)))


def psi(reference: Numbers, sample: Numbers) -> float:
    """Return the population stability index of two counts FP64 [bins]: the sum of (p - q) ln(p / q)."""
    p, q = ((side + _PSEUDO_COUNT) / (side.sum() + _PSEUDO_COUNT * len(side)) for side in (reference, sample))
    return float(((p - q) * np.log(p / q)).sum())
