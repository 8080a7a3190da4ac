"""Figures that follow from counts and probabilities, with their intervals. Necrosis is the positive class.

Throughout, ``scores`` FP64 [n] are SCOREs (probability of recurrence), ``necrosis`` bool [n] the truth.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.metrics import brier_score_loss

from glioserve_evaluation.figures.figures import (
    DEFAULT_BINS,
    LEVEL,
    CalibrationBin,
    Confusion,
    Estimate,
    IntervalMethod,
    Proportion,
    TTest,
)

Scores = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]


def proportion(successes: int, n: int, method: IntervalMethod = "wilsoncc") -> Proportion | None:
    """Return the share and its interval; None where there are no studies."""
    if n == 0:
        return None
    if method == "wald":
        interval = wald(successes / n, n)
        lower, upper = interval.lower, interval.upper
    else:
        exact = stats.binomtest(successes, n).proportion_ci(LEVEL, method)
        lower, upper = float(exact.low), float(exact.high)
    return Proportion(successes, n, successes / n, lower or 0.0, upper or 0.0, method)


def wald(value: float, n: int) -> Estimate:
    """Return ``value`` with the normal interval of a proportion of ``n``, not cut off at 0 and 1.

    The published table's AUC follows from this treatment, although an AUC is not a proportion of ``n``.
    """
    half = float(stats.norm.ppf(0.5 + LEVEL / 2)) * (value * (1 - value) / n) ** 0.5
    return Estimate(value, value - half, value + half, "wald")


def confusion(called_necrosis: Truths, necrosis: Truths) -> Confusion:
    """Count the calls of each truth; both arrays are [n]."""
    return Confusion(
        true_positive=int((called_necrosis & necrosis).sum()),
        false_negative=int((~called_necrosis & necrosis).sum()),
        false_positive=int((called_necrosis & ~necrosis).sum()),
        true_negative=int((~called_necrosis & ~necrosis).sum()),
    )


def t_test(scores: Scores) -> TTest | None:
    """Return the t-test; None of fewer than two scores or of equal ones, where the test's spread would be 0."""
    if len(scores) < 2 or np.ptp(scores) == 0:
        return None
    found = stats.ttest_1samp(scores, 0.5)
    interval = found.confidence_interval(LEVEL)
    return TTest(
        n=len(scores),
        mean=float(scores.mean()),
        lower=float(interval.low),
        upper=float(interval.high),
        t=float(found.statistic),
        degrees_of_freedom=int(found.df),
        p=float(found.pvalue),
    )


def brier(scores: Scores, necrosis: Truths) -> float:
    """Return the mean squared difference between the probability of necrosis and the truth (Brier 1950).

    It is 0.25 for a constant one half.
    """
    return float(brier_score_loss(necrosis, 1 - scores))


def calibration_bins(scores: Scores, necrosis: Truths, bins: int = DEFAULT_BINS) -> tuple[CalibrationBin, ...]:
    """Return ``bins`` of equal width over the probability of necrosis."""
    probability = 1 - scores
    place = np.minimum((probability * bins).astype(np.int64), bins - 1)
    found = []
    for index in range(bins):
        here = place == index
        n = int(here.sum())
        found.append(
            CalibrationBin(
                lower=index / bins,
                upper=(index + 1) / bins,
                n=n,
                mean_probability=float(probability[here].mean()) if n else None,
                observed=float(necrosis[here].mean()) if n else None,
            )
        )
    return tuple(found)


def calibration_error(bins: tuple[CalibrationBin, ...]) -> float:
    """Return the expected calibration error (Naeini 2015).

    It is the bins' mean distance of share and probability, weighted by their counts.
    """
    total = sum(b.n for b in bins)
    distances = (
        b.n * abs(b.observed - b.mean_probability)
        for b in bins
        if b.observed is not None and b.mean_probability is not None
    )
    return sum(distances) / total
