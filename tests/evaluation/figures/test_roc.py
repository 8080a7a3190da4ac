"""The ROC curve, its area's intervals and the threshold for a sensitivity: by definition, by brute force, by ties."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_evaluation.figures.roc import (
    auc_bootstrap,
    auc_delong,
    delong_variance,
    necrosis_auc,
    operating_point,
    roc_points,
)

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@st.composite
def cohorts(draw: st.DrawFn, least: int = 2, most: int = 25) -> tuple[Floats, Bools]:
    """Scores with many ties, two cases of each class at least."""
    n, m = draw(st.integers(least, most)), draw(st.integers(least, most))
    levels = draw(st.sampled_from([3, 8, 1000]))
    scores = draw(st.lists(st.integers(0, levels), min_size=n + m, max_size=n + m))
    return np.array(scores, dtype=np.float64) / levels, np.arange(n + m) < n


def brute_force(scores: Floats, necrosis: Bools) -> tuple[float, float]:
    """AUC and DeLong's variance by every pair (X of necrosis, Y of recurrence; the lower score ranks higher)."""
    x, y = scores[necrosis], scores[~necrosis]
    wins = np.array([[1.0 if a < b else 0.5 if a == b else 0.0 for b in y] for a in x])
    v10, v01 = wins.mean(axis=1), wins.mean(axis=0)
    return float(wins.mean()), float(v10.var(ddof=1) / len(x) + v01.var(ddof=1) / len(y))


@given(cohorts())
def test_auc_and_its_variance_are_those_of_all_pairs(cohort: tuple[Floats, Bools]) -> None:
    area, variance = brute_force(*cohort)
    assert necrosis_auc(*cohort) == pytest.approx(area, abs=1e-12)
    assert delong_variance(*cohort) == pytest.approx(variance, abs=1e-12)


def test_delongs_interval_is_that_of_an_independent_implementation() -> None:
    """The worked example of the PyPI package pauc 0.1.5: AUC 0.708, 95 % CI (0.378, 1.000)."""
    truth = np.array([0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1]) == 1
    probability = np.array([0.1, 0.35, 0.24, 0.8, 0.2, 0.85, 0.13, 0.85, 0.74, 0.58, 0.71, 0.25])
    found = auc_delong(1 - probability, truth)
    assert found.lower is not None
    assert found.upper is not None
    assert (round(found.value, 3), round(found.lower, 3), round(found.upper, 3)) == (0.708, 0.378, 1.0)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.floats(0.3, 1.5))
def test_delong_and_the_bootstrap_agree_where_cases_are_many(seed: int, apart: float) -> None:
    rng = np.random.default_rng(seed)
    necrosis = np.arange(300) < 100
    scores = 1 / (1 + np.exp(-(rng.normal(size=300) - apart * necrosis)))
    by_formula, by_resampling = auc_delong(scores, necrosis), auc_bootstrap(scores, necrosis, resamples=1000, seed=1)
    assert by_formula.lower == pytest.approx(by_resampling.lower, abs=0.02)
    assert by_formula.upper == pytest.approx(by_resampling.upper, abs=0.02)


def test_the_bootstrap_is_its_seeds() -> None:
    rng = np.random.default_rng(5)
    scores, necrosis = rng.random(40), np.arange(40) < 12
    first = auc_bootstrap(scores, necrosis, 500, seed=3)
    assert first == auc_bootstrap(scores, necrosis, 500, seed=3)
    assert first != auc_bootstrap(scores, necrosis, 500, seed=4)


def test_the_bootstrap_is_stratified() -> None:
    """Drawn from all cases at once, a cohort without the rare class would come up, and with it no AUC."""
    scores, necrosis = np.linspace(0, 1, 60), np.arange(60) < 2
    found = auc_bootstrap(scores, necrosis, 2000)
    assert (found.lower, found.upper) == (1.0, 1.0)


def test_one_case_of_a_class_has_an_auc_without_interval() -> None:
    scores, necrosis = np.array([0.2, 0.6, 0.9]), np.array([True, False, False])
    for found in (auc_delong(scores, necrosis), auc_bootstrap(scores, necrosis)):
        assert (found.value, found.lower, found.upper) == (1.0, None, None)


def test_scores_that_one_minus_would_round_together_stay_apart() -> None:
    scores = np.array([1e-18, 2e-18, 3e-18, 4e-18])
    assert necrosis_auc(scores, np.array([True, True, False, False])) == 1.0


@given(cohorts())
def test_the_curve_goes_from_corner_to_corner_and_its_area_is_the_auc(cohort: tuple[Floats, Bools]) -> None:
    points = roc_points(*cohort)
    x, y = [p.false_positive_rate for p in points], [p.true_positive_rate for p in points]
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert integrate.trapezoid(y, x) == pytest.approx(necrosis_auc(*cohort))
    scores, necrosis = cohort
    for point in points[1:]:
        called = scores <= point.score
        assert (called[necrosis].mean(), called[~necrosis].mean()) == pytest.approx(
            (point.true_positive_rate, point.false_positive_rate)
        )


# Operating point


@given(cohorts(), st.floats(0.01, 1))
def test_the_threshold_reaches_the_sensitivity_at_the_highest_specificity(
    cohort: tuple[Floats, Bools], wanted: float
) -> None:
    scores, necrosis = cohort
    scores = scores * 0.999  # a necrosis of score 1 has a test of its own
    point = operating_point(scores, necrosis, wanted)
    assert 0 < point.threshold < 1
    called = scores < point.threshold
    assert point.sensitivity == called[necrosis].mean() >= wanted - 1e-9
    assert point.specificity == (~called[~necrosis]).mean()
    for other in np.unique(np.concatenate([scores, [0.5, 0.9999]])):
        if (scores < other)[necrosis].mean() >= wanted:
            assert (scores >= other)[~necrosis].mean() <= point.specificity


@given(cohorts())
def test_more_sensitivity_means_a_higher_threshold(cohort: tuple[Floats, Bools]) -> None:
    scores, necrosis = cohort[0] * 0.999, cohort[1]
    found = [operating_point(scores, necrosis, wanted).threshold for wanted in (0.1, 0.5, 0.9, 1.0)]
    assert found == sorted(found)


def test_the_threshold_keeps_its_distance_from_scores() -> None:
    scores, necrosis = np.array([0.1, 0.3, 0.4, 0.8]), np.array([True, True, False, False])
    assert operating_point(scores, necrosis, 1.0).threshold == pytest.approx(0.35)


def test_neighbouring_numbers_are_still_told_apart() -> None:
    low = 0.3
    scores, necrosis = np.array([low, np.nextafter(low, 1), 0.9]), np.array([True, False, False])
    point = operating_point(scores, necrosis, 1.0)
    assert (point.sensitivity, point.specificity) == (1.0, 1.0)


def test_a_necrosis_that_is_certainly_recurrence_leaves_no_threshold() -> None:
    with pytest.raises(GlioserveError, match="No threshold") as caught:
        operating_point(np.array([0.1, 1.0, 0.5]), np.array([True, True, False]), 1.0)
    assert caught.value.code is ErrorCode.INVALID_COHORT
