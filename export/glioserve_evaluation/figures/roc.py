"""The receiver operating characteristic, its area with two intervals, and the threshold for a wanted sensitivity.

``scores`` FP64 [n] are SCOREs (probability of recurrence), ``necrosis`` bool [n] the truth. A study ranks the higher,
the lower its score: ``-SCORE`` orders as ``1 - SCORE`` does, without its rounding.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats
from sklearn.metrics import roc_curve

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_evaluation.figures.figures import DEFAULT_RESAMPLES, LEVEL, Estimate, OperatingPoint, RocPoint
from glioserve_evaluation.figures.statistics import Scores, Truths
from glioserve_training.metrics import auc, auc_of_samples

_BATCH_VALUES = 1_000_000
"""Most values of the bootstrap that are in memory at a time."""


def roc_points(scores: Scores, necrosis: Truths) -> tuple[RocPoint, ...]:
    """Return the curve's corners, from (0, 0) to (1, 1)."""
    false_positive, true_positive, thresholds = roc_curve(necrosis, -scores)
    return tuple(
        RocPoint(float(x), float(y), -float(t) if math.isfinite(t) else None)
        for x, y, t in zip(false_positive, true_positive, thresholds, strict=True)
    )


def necrosis_auc(scores: Scores, necrosis: Truths) -> float:
    """Return the chance that a necrosis ranks above a recurrence; a tie counts half. Both must be there."""
    return auc(-scores, necrosis)


def delong_variance(scores: Scores, necrosis: Truths) -> float:
    """Return DeLong's variance of the AUC by its structural components (Biometrics 1988;44:837).

    A case's component is the share of the other class that it ranks rightly against, ties half: by midranks among all
    less those among its own class (Sun and Xu, IEEE Signal Processing Letters 2014;21:1389). Two of each class at
    least.
    """
    positive, negative = -scores[necrosis], -scores[~necrosis]
    m, n = len(positive), len(negative)
    among_all = stats.rankdata(np.concatenate([positive, negative]))
    of_positive = (among_all[:m] - stats.rankdata(positive)) / n
    of_negative = 1 - (among_all[m:] - stats.rankdata(negative)) / m
    return float(of_positive.var(ddof=1) / m + of_negative.var(ddof=1) / n)


def auc_delong(scores: Scores, necrosis: Truths) -> Estimate:
    """Return the AUC with the normal interval of DeLong's variance, cut off at 0 and 1; none with one case of a class.

    Where the classes are apart (AUC 1 or 0) the variance is 0 and the interval a point: it then says nothing.
    """
    value = necrosis_auc(scores, necrosis)
    if min(necrosis.sum(), (~necrosis).sum()) < 2:
        return Estimate(value, method="delong")
    half = float(stats.norm.ppf(0.5 + LEVEL / 2)) * math.sqrt(delong_variance(scores, necrosis))
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), "delong")


def auc_bootstrap(scores: Scores, necrosis: Truths, resamples: int = DEFAULT_RESAMPLES, seed: int = 0) -> Estimate:
    """Return the AUC with its percentile interval over ``resamples`` cohorts.

    Each cohort is drawn with replacement within each class.
    """
    value = necrosis_auc(scores, necrosis)
    positive, negative = -scores[necrosis], -scores[~necrosis]
    if min(len(positive), len(negative)) < 2:
        return Estimate(value, method="bootstrap")
    found = stats.bootstrap(
        (positive, negative),
        auc_of_samples,
        n_resamples=resamples,
        batch=max(1, _BATCH_VALUES // len(scores)),
        vectorized=True,
        method="percentile",
        confidence_level=LEVEL,
        rng=np.random.default_rng(seed),
    )
    interval = found.confidence_interval
    return Estimate(value, float(interval.low), float(interval.high), "bootstrap")


def operating_point(scores: Scores, necrosis: Truths, wanted_sensitivity: float) -> OperatingPoint:
    """Return the lowest threshold that calls enough of the necroses, and so the fewest recurrences, necrosis.

    It lies midway to the next score above, so that rounding moves no study across. GLIO-5121 where a score of exactly
    1 among the necroses leaves no threshold below 1.
    """
    of_necrosis = np.sort(scores[necrosis])
    needed = max(1, math.ceil(wanted_sensitivity * len(of_necrosis) - 1e-9))
    last = float(of_necrosis[needed - 1])
    if last >= 1:
        raise GlioserveError(
            ErrorCode.INVALID_COHORT,
            f"No threshold reaches a sensitivity of {wanted_sensitivity:g}: a necrosis that it needs has the score 1.",
        )
    above = float(scores[scores > last].min(initial=1.0))
    threshold = (last + above) / 2
    if not last < threshold < 1:  # neighbours among the floating-point numbers
        threshold = above
    called = scores < threshold
    return OperatingPoint(
        wanted_sensitivity,
        threshold,
        sensitivity=float(called[necrosis].mean()),
        specificity=float((~called[~necrosis]).mean()),
    )
