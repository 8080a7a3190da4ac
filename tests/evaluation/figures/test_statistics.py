"""Proportions, tests and calibration: against the published table, and against independent computations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from glioserve_evaluation.figures.figures import Confusion, IntervalMethod
from glioserve_evaluation.figures.statistics import (
    brier,
    calibration_bins,
    calibration_error,
    confusion,
    proportion,
    t_test,
    wald,
)


@pytest.mark.parametrize(
    ("successes", "n", "method", "published"),
    [
        (7, 9, "wilsoncc", (0.78, 0.40, 0.96)),
        (46, 49, "wilsoncc", (0.94, 0.82, 0.98)),
        (53, 58, "wald", (0.91, 0.84, 0.99)),
    ],
    ids=["sensitivity", "specificity", "accuracy"],
)
def test_the_published_rates_come_out_of_their_counts(
    successes: int, n: int, method: IntervalMethod, published: tuple[float, ...]
) -> None:
    found = proportion(successes, n, method)
    assert found is not None
    assert tuple(round(v, 2) for v in (found.value, found.lower, found.upper)) == published


@pytest.mark.parametrize("method", ["wilsoncc", "wilson", "exact"])
def test_the_published_accuracy_is_of_no_better_method(method: IntervalMethod) -> None:
    """Wald's method is offered because it gives the published interval."""
    found = proportion(53, 58, method)
    assert found is not None
    assert (round(found.lower, 2), round(found.upper, 2)) != (0.84, 0.99)


def test_the_published_auc_comes_out_as_a_proportion_of_all_studies() -> None:
    found = wald(0.83, 58)
    assert found.lower is not None
    assert found.upper is not None
    assert (round(found.lower, 2), round(found.upper, 2)) == (0.73, 0.93)


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_intervals_hold_the_share_and_the_corrected_one_the_other(counts: tuple[int, int]) -> None:
    successes, n = counts
    plain, corrected = proportion(successes, n, "wilson"), proportion(successes, n, "wilsoncc")
    assert plain is not None
    assert corrected is not None
    assert 0 <= corrected.lower <= plain.lower + 1e-12 <= plain.value + 2e-12
    assert plain.value - 1e-12 <= plain.upper <= corrected.upper + 1e-12 <= 1 + 2e-12
    assert plain.value == successes / n


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_solves_its_equation(counts: tuple[int, int]) -> None:
    """Its ends are the shares that a score test just does not reject: (p - x)^2 = z^2 x (1 - x) / n."""
    successes, n = counts
    found = proportion(successes, n, "wilson")
    assert found is not None
    z = stats.norm.ppf(0.975)
    for end in (found.lower, found.upper):
        assert (found.value - end) ** 2 == pytest.approx(z**2 * end * (1 - end) / n, abs=1e-9)


def test_the_exact_interval_is_clopper_and_pearsons() -> None:
    found = proportion(7, 9, "exact")
    assert found is not None
    assert found.lower == pytest.approx(special.betaincinv(7, 3, 0.025))
    assert found.upper == pytest.approx(special.betaincinv(8, 2, 0.975))


def test_of_no_studies_there_is_no_share() -> None:
    assert proportion(0, 0) is None


def test_the_t_test_is_students_against_one_half() -> None:
    scores = np.array([0.2, 0.4, 0.35, 0.6])
    found = t_test(scores)
    assert found is not None
    error = scores.std(ddof=1) / 2
    assert found.t == pytest.approx((scores.mean() - 0.5) / error)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.t), 3))
    half = stats.t.ppf(0.975, 3) * error
    assert (found.lower, found.upper) == pytest.approx((scores.mean() - half, scores.mean() + half))
    assert (found.n, found.degrees_of_freedom) == (4, 3)


@pytest.mark.parametrize("scores", [[], [0.3], [0.7, 0.7, 0.7]])
def test_without_spread_there_is_no_t_test(scores: list[float]) -> None:
    assert t_test(np.array(scores)) is None


def test_necrosis_is_the_positive_class_of_the_confusion() -> None:
    called = np.array([True, True, True, False, False, False, False, False, False, False])
    truth = np.array([True, True, False, True, True, True, False, False, False, False])
    assert confusion(called, truth) == Confusion(2, 3, 1, 4)


def test_brier_is_of_the_probability_of_necrosis() -> None:
    assert brier(np.array([0.1, 0.8]), np.array([True, False])) == pytest.approx((0.1**2 + 0.2**2) / 2)
    assert brier(np.array([1.0, 1.0]), np.array([True, True])) == 1.0


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 80))
def test_the_calibration_error_is_its_definition(seed: int, bins: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    scores, necrosis = rng.random(n), rng.random(n) < 0.3
    found = calibration_bins(scores, necrosis, bins)
    by_hand = 0.0
    for index, each in enumerate(found):
        inside = [i for i in range(n) if min(int((1 - scores[i]) * bins), bins - 1) == index]
        assert each.n == len(inside)
        if inside:
            by_hand += len(inside) / n * abs(np.mean(necrosis[inside]) - np.mean(1 - scores[inside]))
        else:
            assert each.observed is None
    assert calibration_error(found) == pytest.approx(by_hand)


def test_certain_scores_fall_into_the_outermost_bins() -> None:
    found = calibration_bins(np.array([0.0, 1.0, 1.0]), np.array([True, False, True]), 5)
    assert [b.n for b in found] == [2, 0, 0, 0, 1]
    assert (found[0].observed, found[-1].observed) == (0.5, 1.0)
